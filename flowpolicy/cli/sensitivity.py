"""``flowpolicy sensitivity <agent> --env <id>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.benchmark.sensitivity import VALUES, run_sensitivity, sensitivity_report
from flowpolicy.cli.benchmark import show
from flowpolicy.cli.console import after_name, parse, say
from flowpolicy.train.seeds import RunsFailedError


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        env: An environment of the suite.
        option: The coefficient.
        values: Of it, above 0.
        variants: Each option=value[,option=value...]; by default with and without the Q
            normalisation, and with a learned coefficient where the agent knows one.
        suite: Where all other settings come from.
        seeds: Of each value and variant.
        jobs: How many runs train at a time, one thread each.
        out: Folder, by default runs/sensitivity-<agent>-<env>; what is finished is not run again.
        data_root: Folder of data sets; those embedded in the package need none.
        report_only: Only write the tables and the plot of what is finished.
    """

    env: str
    option: str = "alpha"
    values: tuple[float, ...] = VALUES
    variants: tuple[str, ...] = ()
    suite: str = "small"
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    out: Path | None = None
    data_root: str | None = None
    report_only: bool = False


def command(arguments: Sequence[str]) -> None:
    """Runs, reports, and names what failed."""
    options = parse(
        Options,
        after_name(arguments, "which agent? flowpolicy sensitivity <agent> --env <id>"),
        program="flowpolicy sensitivity <agent>",
        description="Success of one method against a coefficient, a curve for each variant.",
    )
    agent = arguments[0].replace("-", "_")
    out = options.out or Path(f"runs/sensitivity-{agent}-{options.env}")
    if options.report_only:
        found = sensitivity_report(out)
    else:
        found = run_sensitivity(
            agent,
            options.env,
            out,
            option=options.option,
            values=options.values,
            variants=options.variants,
            suite=options.suite,
            seeds=options.seeds,
            jobs=options.jobs,
            data_root=options.data_root,
            announce=say,
        )
    show(found)
    if found.failures:
        say(*(f"failed: {path}: {message}" for path, message in found.failures.items()))
        raise RunsFailedError(f"{len(found.failures)} runs failed; the same command repeats them")
