"""The runs of a comparison: each in a folder of its own, finished once, and again if it failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from flowpolicy.benchmark.backends import Backend, Cells, LocalBackend
from flowpolicy.benchmark.cell import FAILED, FINISHED, is_held, require_cell
from flowpolicy.errors import ConfigError, require_at_least
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig

PATIENCE = 30.0
"""Seconds to wait for runs of other processes, which may be about to end."""


def run_cells(
    cells: Cells,
    *,
    backend: Backend = LocalBackend(),
    retries: int = 0,
    announce: Callable[[str], None] | None = None,
) -> dict[Path, str]:
    """Runs what is not finished.

    A finished run is not touched; one that was stopped or killed, or that failed, goes on from its
    newest checkpoint, or begins anew where it has none. One that another process runs is left to
    it, unless that lets go of it soon: the runs of a sweep that was killed save for some seconds.

    Args:
        cells: The folders, and the run of each.
        backend: Where they run.
        retries: How often a run that failed is tried again, after all others.
        announce: Called with one line about each run that ends.

    Returns:
        Why runs failed, by their folders.

    Raises:
        ConfigError: A run that is finished or can go on has other settings, or a folder is not that
            of a run.
        Stopped: SIGINT or SIGTERM came; finished runs stay, what was running is saved.
    """
    require_at_least("run_cells", "retries", retries, 0)
    tell = announce or (lambda _: None)
    for path, config in cells.items():
        require_cell(path, config)
    _require_alike(cells)
    todo = {path: cells[path] for path in cells if not (path / FINISHED).is_file()}
    tell(f"{len(cells) - len(todo)} of {len(cells)} runs are finished, {len(todo)} to go")
    failures: dict[Path, str] = {}
    while todo:
        progress = _Progress(len(todo), tell)
        found = backend.run(todo, progress.ended)
        given_up = {path: said for path, said in failures.items() if path not in todo}
        failed = {path: said for path, said in found.items() if path not in progress.elsewhere}
        failures = {**given_up, **failed}
        again = list(failed) if retries else []
        retries -= bool(again)
        todo = {path: cells[path] for path in (*again, *_let_go(progress.elsewhere))}
        if todo:
            tell(f"{len(todo)} runs are tried again")
    return failures


def _require_alike(cells: Cells) -> None:
    """Refuses runs beside finished ones whose row of the table would mix different settings.

    Raises:
        ConfigError: One differs in more than its seed.
    """
    for path, config in cells.items():
        for other in path.parent.glob(f"*/{FINISHED}"):
            if other.parent in cells:
                continue
            had = TrainConfig.from_dict(RunFolder(other.parent).config())
            if changed := had.difference(config, besides=("seed",)):
                name, before, now = changed
                raise ConfigError(
                    f"{other.parent} was run with {name} {before!r}, and {path} would be with "
                    f"{now!r}: one row of the table would be of both. Choose another folder with "
                    "--out, or remove the one that is there"
                )


def _let_go(cells: Collection[Path]) -> list[Path]:
    """Those that no other process runs any more after a while, and that are not finished."""
    deadline = time.monotonic() + PATIENCE
    while (held := [path for path in cells if is_held(path)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [path for path in cells if path not in held and not (path / FINISHED).is_file()]


class _Progress:
    """Marks what failed, and tells of each run that ends."""

    def __init__(self, total: int, tell: Callable[[str], None]) -> None:
        self.elsewhere: set[Path] = set()
        self._total = total
        self._tell = tell
        self._done = 0
        self._started = time.perf_counter()

    def ended(self, path: Path, failure: str | None) -> None:
        self._done += 1
        if failure is None:
            result = "finished"
        elif (path / FINISHED).is_file():  # by another process, meanwhile
            result = "is finished"
        elif is_held(path):  # by another process, which was first; ours has let go of it
            self.elsewhere.add(path)
            result = "is run by another process"
        else:
            path.mkdir(parents=True, exist_ok=True)
            RunFolder(path).write_json(FAILED, {"message": failure})
            result = f"FAILED: {failure}"
        minutes = (time.perf_counter() - self._started) / 60
        name = "/".join(path.parts[-3:])
        self._tell(f"[{self._done}/{self._total}, {minutes:.1f} min] {name} {result}")


def finished_cells(out: Path) -> list[RunFolder]:
    """The finished runs below a folder, in the order of their paths."""
    return [RunFolder(path.parent) for path in sorted(out.glob(f"*/*/*/{FINISHED}"))]


def failed_cells(out: Path) -> dict[Path, str]:
    """Why runs below a folder failed, by their folders."""
    found = sorted(out.glob(f"*/*/*/{FAILED}"))
    cells = [path.parent for path in found if not (path.parent / FINISHED).is_file()]
    return {cell: message_of(cell) for cell in cells}


def message_of(cell: Path) -> str:
    """Why a cell failed."""
    return str(RunFolder(cell).read_json(FAILED)["message"])
