"""Every method of a suite in each of its environments with each seed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.benchmark.backends import LocalBackend
from flowpolicy.benchmark.cells import failed_cells, finished_cells, run_cells
from flowpolicy.benchmark.data import require_data
from flowpolicy.benchmark.suite import Suite
from flowpolicy.benchmark.summary import Summary, summarize_all
from flowpolicy.benchmark.table import write_tables
from flowpolicy.durable import STAGING_PREFIX
from flowpolicy.errors import ConfigError, unknown_name
from flowpolicy.plot.dots import Dot, dot_plot
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.seeds import require_seeds

FOOTNOTE = "diamonds: means over seeds with 95 % bootstrap intervals; faint dots: single seeds"
_MARKER = "benchmark.json"


@dataclass(frozen=True)
class Report:
    """What a benchmark found, and where it lies.

    Attributes:
        folder: Where ``table.md``, ``table.csv`` and maybe ``plot.png`` lie.
        summaries: Sorted: by environment, the best first.
        failures: Why runs failed, by their folders.
    """

    folder: Path
    summaries: tuple[Summary, ...]
    failures: dict[Path, str]


def run_benchmark(
    suite: str = "small",
    out: str | Path = "runs/benchmark",
    *,
    methods: Sequence[str] = (),
    envs: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    jobs: int = 2,
    data_root: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> Report:
    """Runs what is not finished of a suite, and reports on all that is.

    Args:
        suite: Name of a suite, or a file that ends in ``.toml``.
        out: Folder; run ``i`` lies in ``<out>/<env>/<method>/seed_<i>``.
        methods: Some of the suite's; all if there is none.
        envs: Some of the suite's; all if there is none.
        seeds: Of each method and environment.
        jobs: How many processes run at a time.
        data_root: Folder of data sets that are not embedded.
        announce: Called with one line about each run that ends.

    Raises:
        ConfigError: The suite is wrong or lacks something, or ``out`` holds something else.
        Stopped: SIGINT or SIGTERM came; finished runs stay.
    """
    known, folder = Suite.read(suite), Path(out)
    require_seeds(seeds)
    for env in envs or ():
        if env not in known.tables:
            raise unknown_name(f"environment of suite {known.name}", env, known.tables)
    cells = {
        folder / env / method / f"seed_{seed}": known.config(
            env, method, seed=seed, data_root=data_root
        )
        for env in envs or known.environments
        for method in methods or list(known.tables[env]["methods"])
        for seed in seeds
    }
    require_data(cells, download=True)
    claim(folder, _MARKER, {"suite": suite, "description": known.description})
    run_cells(cells, backend=LocalBackend(jobs), announce=announce)
    return report(folder)


def claim(folder: Path, marker: str, value: dict[str, object]) -> None:
    """Makes a folder with a marker in it, or goes on in one whose marker is the same.

    Raises:
        ConfigError: The folder is something else.
    """
    # In this order: whoever claims it at the same time writes the marker before anything else.
    taken = folder.exists() and any(not p.name.startswith(STAGING_PREFIX) for p in folder.iterdir())
    if (folder / marker).is_file():
        if (had := RunFolder(folder).read_json(marker)) != value:
            raise ConfigError(
                f"{folder} holds other results ({had}, not {value}); choose another with --out"
            )
    elif taken:
        raise ConfigError(f"{folder} exists and has no {marker}; choose another with --out")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        RunFolder(folder).write_json(marker, value)


def report(out: str | Path) -> Report:
    """Writes the tables and the plot of what is finished below a folder.

    Raises:
        ConfigError: It is not the folder of a benchmark.
    """
    folder = Path(out)
    said = RunFolder(folder).read_json(_MARKER)
    groups: dict[tuple[str, str], list[RunFolder]] = {}
    for run in finished_cells(folder):
        config = run.config()
        groups.setdefault((config["env"], config["agent"]), []).append(run)
    summaries = summarize_all(groups)
    if summaries:
        write_tables(summaries, folder, title=said["description"])
        panels = {
            env: [Dot(s.name, s.mean, s.interval, s.values) for s in summaries if s.env == env]
            for env in dict.fromkeys(s.env for s in summaries)
        }
        success = all(s.success for s in summaries)
        dot_plot(
            panels,
            folder / "plot.png",
            axis="success rate (%)" if success else "mean return",
            title=said["description"],
            footnote=FOOTNOTE,
            percent=success,
        )
    return Report(folder, summaries, failed_cells(folder))


def repeat(folder: Path, run: Path) -> str:
    """The command that runs one failed run of a benchmark again."""
    env, method, seed = run.parts[-3:]
    suite = RunFolder(folder).read_json(_MARKER)["suite"]
    where = ("--suite", suite, "--out", str(folder))
    which = ("--envs", env, "--methods", method, "--seeds", seed.removeprefix("seed_"))
    return shlex.join(["flowpolicy", "benchmark", *where, *which])
