"""What several seeds say together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowpolicy.evaluate import bootstrap_interval


class OverSeeds:
    """Mean, spread and interval of the ``values`` of an implementation, one per seed."""

    if TYPE_CHECKING:  # at run time a dataclass would take it for its field's default

        @property
        def values(self) -> Sequence[float]:
            """One per seed: success in per cent, or the mean return."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation over seeds, 0 of one seed."""
        return statistics.pstdev(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the mean over seeds; ``None`` of one seed."""
        return bootstrap_interval(self.values) if len(self.values) > 1 else None
