"""Where the processes of many runs come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from flowpolicy.benchmark.cell import run_cell
from flowpolicy.errors import require_at_least
from flowpolicy.train import TrainConfig
from flowpolicy.train.processes import train_all

Cells = Mapping[Path, TrainConfig]
"""Folders, and the run of each."""

Ended = Callable[[Path, str | None], None]
"""Called after each run with its folder and why it failed; ``None`` if it did not."""


class Backend(Protocol):
    """Runs every cell in a process of its own."""

    def run(self, cells: Cells, ended: Ended) -> dict[Path, str]:
        """Runs all cells.

        Args:
            cells: The runs, in the order in which they are begun.
            ended: Called after each.

        Returns:
            Why runs failed, by their folders.

        Raises:
            Stopped: SIGINT or SIGTERM came; what was running is saved.
        """
        ...


@final
@dataclass(frozen=True)
class LocalBackend:
    """Processes of this machine, one thread each unless the run says otherwise.

    Attributes:
        jobs: How many run at a time.

    Raises:
        ConfigError: ``jobs`` is below 1.
    """

    jobs: int = 2

    def __post_init__(self) -> None:
        require_at_least("LocalBackend", "jobs", self.jobs, 1)

    def run(self, cells: Cells, ended: Ended) -> dict[Path, str]:
        """Runs all cells, see :class:`Backend`."""
        return train_all(cells, trainer=run_cell, jobs=self.jobs, progress=False, ended=ended)
