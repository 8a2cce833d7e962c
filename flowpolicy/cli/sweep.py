"""``flowpolicy sweep <grid.toml>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowpolicy.benchmark.backends import Backend, LocalBackend
from flowpolicy.benchmark.cell import state_of
from flowpolicy.benchmark.grid import Grid
from flowpolicy.benchmark.ray_backend import RayBackend
from flowpolicy.benchmark.sweep import numbered_cells, run_one, run_sweep, sweep_report
from flowpolicy.cli.benchmark import show
from flowpolicy.cli.console import after_name, parse, say
from flowpolicy.errors import ConfigError
from flowpolicy.train.seeds import RunsFailedError


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        out: Folder, by default runs/<name of the grid file>; what is finished is not run again.
        backend: Where runs take place: in processes of this machine, or on a Ray cluster.
        jobs: How many runs train at a time on this machine, one thread each.
        address: Of the Ray cluster; by default Ray is started on this machine. auto takes the
            cluster that this machine belongs to.
        retries: How often a run that failed is tried again, after all others.
        cell: Run the one cell of this number, as a task of a job array does; writes no table.
        list: Only number the cells and say how each stands.
        data_root: Folder of data sets; those embedded in the package need none.
        report_only: Only write the tables of what is finished.
    """

    out: Path | None = None
    backend: Literal["local", "ray"] = "local"
    jobs: int = 2
    address: str | None = None
    retries: int = 1
    cell: int | None = None
    list: bool = False
    data_root: str | None = None
    report_only: bool = False


def command(arguments: Sequence[str]) -> None:
    """Runs, reports, and names what failed."""
    options = parse(
        Options,
        after_name(arguments, "which grid? flowpolicy sweep <grid.toml>"),
        program="flowpolicy sweep <grid.toml>",
        description="Train every cell of a grid of agents, environments, seeds and options.",
    )
    if options.address is not None and options.backend != "ray":
        raise ConfigError(f"--address {options.address} is of a Ray cluster: add --backend ray")
    if options.cell is not None and options.backend == "ray":
        raise ConfigError("--cell runs one cell in this process; leave --backend ray out")
    grid = Grid.read(arguments[0])
    out = options.out or Path("runs") / Path(arguments[0]).stem
    if options.list:
        for number, (path, _) in enumerate(numbered_cells(grid, out)):
            say(f"{number:>6}  {state_of(path):<8}  {path.relative_to(out)}")
    elif options.report_only:
        show(sweep_report(out, grid.description))
    elif options.cell is not None:
        failures = run_one(
            grid,
            out,
            options.cell,
            retries=options.retries,
            data_root=options.data_root,
            announce=say,
        )
        _require_none(failures)
    else:
        found = run_sweep(
            grid,
            out,
            backend=_backend(options),
            retries=options.retries,
            data_root=options.data_root,
            announce=say,
        )
        show(found)
        _require_none(found.failures)


def _backend(options: Options) -> Backend:
    if options.backend == "ray":
        return RayBackend(options.address)
    return LocalBackend(options.jobs)


def _require_none(failures: Mapping[Path, str]) -> None:
    if failures:
        say("", *(f"failed: {path}: {message}" for path, message in failures.items()))
        raise RunsFailedError(f"{len(failures)} runs failed; the same command goes on with them")
