"""``flowpolicy benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.benchmark import Report, repeat, report, run_benchmark
from flowpolicy.cli.console import parse, say, table
from flowpolicy.train.seeds import RunsFailedError


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        suite: Name of a suite, or a file that ends in .toml.
        out: Folder; what is finished there is not run again.
        methods: Some of the suite's methods; by default all.
        envs: Some of the suite's environments; by default all.
        seeds: Of each method and environment.
        jobs: How many runs train at a time, one thread each.
        data_root: Folder of data sets; those embedded in the package need none.
        report_only: Only write the tables and the plot of what is finished.
    """

    suite: str = "small"
    out: Path = Path("runs/benchmark")
    methods: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    data_root: str | None = None
    report_only: bool = False


def command(arguments: Sequence[str]) -> None:
    """Runs, reports, and names what failed."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy benchmark",
        description="Train every method of a suite in each of its environments, and compare them.",
    )
    if options.report_only:
        found = report(options.out)
    else:
        found = run_benchmark(
            options.suite,
            options.out,
            methods=options.methods,
            envs=options.envs,
            seeds=options.seeds,
            jobs=options.jobs,
            data_root=options.data_root,
            announce=say,
        )
    show(found)
    if found.failures:
        for path, message in found.failures.items():
            again = repeat(found.folder, path)
            root = "" if options.data_root is None else f" --data-root {options.data_root}"
            say("", f"failed: {path}: {message}", f"  again: {again}{root}")
        raise RunsFailedError(f"{len(found.failures)} runs failed; see above")


def show(found: Report) -> None:
    """Says what was found, and where it lies."""
    say("", *_table(found), "")
    if found.summaries:
        written = [found.folder / name for name in ("table.md", "table.csv", "plot.png")]
        say(*(str(path) for path in written if path.exists()))


def _table(found: Report) -> list[str]:
    rows = []
    for s in found.summaries:
        interval = "-" if s.interval is None else "{:.0f} to {:.0f}".format(*s.interval)
        singles = " ".join(f"{value:.0f}" for value in s.values)
        numbers = [f"{s.mean:.1f}", f"{s.std:.1f}", interval, singles]
        rows.append([f"{s.env} {s.name}", *numbers, f"{s.seconds:.0f}", f"{s.milliseconds:.2f}"])
    return table(["", "mean", "std", "95 %", "each seed", "train s", "ms/update"], rows)
