"""The progress bar of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from flowpolicy.errors import require_installed


class Progress:
    """Steps per second and two numbers, on standard error.

    Args:
        label: In front of the bar.
        total: Number of steps: updates on the data, then steps of the environment.
        position: Line of the bar, where several runs share a terminal.
        visible: Whether to show it at all.
    """

    def __init__(self, label: str, total: int, *, position: int = 0, visible: bool = True) -> None:
        require_installed("a progress bar", "tqdm", extra="cli")
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(
            total=total,
            desc=label,
            unit=" steps",
            position=position,
            disable=not visible,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 10,  # a log file needs few lines
            smoothing=0.1,
            leave=True,
        )
        self._shown: dict[str, str] = {}

    def advance(self, steps: int) -> None:
        """Moves the bar."""
        self._bar.update(steps)

    def show(self, values: Mapping[str, float]) -> None:
        """Puts numbers behind the bar, replacing those of the same names."""
        self._shown.update({name: f"{value:.3g}" for name, value in values.items()})
        self._bar.set_postfix(self._shown, refresh=False)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
