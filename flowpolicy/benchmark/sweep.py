"""Every run of a grid, and what each of its settings amounts to over seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flowpolicy.benchmark.backends import Backend, LocalBackend
from flowpolicy.benchmark.benchmark import Report, claim
from flowpolicy.benchmark.cells import failed_cells, finished_cells, run_cells
from flowpolicy.benchmark.data import require_data
from flowpolicy.benchmark.grid import Grid
from flowpolicy.benchmark.search import run_search
from flowpolicy.benchmark.summary import summarize_all
from flowpolicy.benchmark.table import write_tables
from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig

_MARKER = "sweep.json"


def run_sweep(
    grid: Grid,
    out: str | Path,
    *,
    backend: Backend = LocalBackend(),
    retries: int = 1,
    data_root: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> Report:
    """Runs what is not finished of a grid, or of its search, and reports on all that is.

    Args:
        grid: Which runs there are.
        out: Folder; the runs lie in :meth:`Grid.cells`' places below it.
        backend: Where they run.
        retries: How often a run that failed is tried again, after all others.
        data_root: Folder of data sets, where the grid names none.
        announce: Called with one line about each run that ends.

    Raises:
        ConfigError: ``out`` holds something else, or a run that has other settings and is not to be
            lost.
        DataError: The data of a run are not there.
        HeldError: Another process searches in this folder.
        Stopped: SIGINT or SIGTERM came; finished runs stay, what was running is saved.
    """
    folder = Path(out)
    if grid.space is not None:
        require_data(grid.cells(folder, data_root=data_root, **next(grid.space.ends())))
        claim(folder, _MARKER, {})
        failures = run_search(
            grid,
            folder,
            backend=backend,
            retries=retries,
            data_root=data_root,
            announce=announce,
        )
    else:
        cells = grid.cells(folder, data_root=data_root)
        require_data(cells)
        claim(folder, _MARKER, {})
        failures = run_cells(cells, backend=backend, retries=retries, announce=announce)
    found = sweep_report(folder, grid.description)
    return Report(folder, found.summaries, failures)


def run_one(
    grid: Grid,
    out: str | Path,
    number: int,
    *,
    retries: int = 1,
    data_root: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> dict[Path, str]:
    """Runs one cell of a grid, and writes no table: others run beside it.

    Args:
        grid: Which runs there are.
        out: Folder of the sweep.
        number: Of the cell, from 0, in the order of :meth:`Grid.cells`.
        retries: How often it is tried again where it fails.
        data_root: Folder of data sets, where the grid names none.
        announce: Called with one line when it ends.

    Returns:
        Why it failed, by its folder; nothing if it did not.

    Raises:
        ConfigError: There is no such cell, the grid has a search, or as of :func:`run_sweep`.
        DataError: The data of the run are not there.
        Stopped: SIGINT or SIGTERM came; what was running is saved.
    """
    cells = numbered_cells(grid, out, data_root=data_root)
    if not 0 <= number < len(cells):
        raise ConfigError(f"cell must be between 0 and {len(cells) - 1}, got {number}")
    path, config = cells[number]
    require_data({path: config})
    claim(Path(out), _MARKER, {})
    backend = LocalBackend(jobs=1)
    return run_cells({path: config}, backend=backend, retries=retries, announce=announce)


def numbered_cells(
    grid: Grid, out: str | Path, *, data_root: str | None = None
) -> list[tuple[Path, TrainConfig]]:
    """The folders of a grid's cells and the run of each, in an order that numbers them.

    Raises:
        ConfigError: The grid has a search, whose cells are not known before they run.
    """
    if grid.space is not None:
        raise ConfigError(
            f"grid {grid.name} has a [search]: its cells follow from each other and have no "
            "numbers; run it as a whole"
        )
    return list(grid.cells(Path(out), data_root=data_root).items())


def sweep_report(out: str | Path, title: str) -> Report:
    """Writes ``table.md`` and ``table.csv`` of what is finished, a row for each setting.

    Raises:
        ConfigError: It is not the folder of a sweep.
    """
    folder = Path(out)
    RunFolder(folder).read_json(_MARKER)
    groups: dict[tuple[str, str], list[RunFolder]] = {}
    for run in finished_cells(folder):
        groups.setdefault((run.config()["env"], run.path.parent.name), []).append(run)
    summaries = summarize_all(groups)
    if summaries:
        write_tables(summaries, folder, title=title)
    return Report(folder, summaries, failed_cells(folder))
