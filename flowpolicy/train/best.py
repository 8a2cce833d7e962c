"""The best evaluation of a run so far."""

from __future__ import annotations

import math
from collections.abc import Collection

from flowpolicy.results import Point, read_points
from flowpolicy.run_folder import RunFolder


def best_step(run: RunFolder, actor: str, steps: Collection[int]) -> int | None:
    """The step of the best evaluation of an actor, the first of equally good ones.

    Args:
        run: Of one seed.
        actor: Whose.
        steps: Which steps are in question; ``None`` where none of them was evaluated.

    Raises:
        ConfigError: Its table holds something else.
    """
    line = read_points(run).get(actor, [[]])[0] if run.read_evaluations() else []
    best = max((point for point in line if point.step in steps), key=_worth, default=None)
    return None if best is None else best.step


def _worth(point: Point) -> float:
    return -math.inf if math.isnan(point.value) else point.value
