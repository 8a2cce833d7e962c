"""``flowpolicy doctor`` and ``flowpolicy doctor <run>...``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.cli.console import parse, say
from flowpolicy.doctor import Finding, examine_machine, examine_run, seeds_are_there, worst
from flowpolicy.doctor.finding import LEVELS
from flowpolicy.run_folder import RunFolder


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        runs: Folders of runs; without any, the machine is looked at.
        data_root: Folder of data sets, where it is not the run's any more.
        quiet: Leave out what is as it should be.
    """

    runs: tuple[Path, ...]
    data_root: Path | None = None
    quiet: bool = False


def command(arguments: Sequence[str]) -> None:
    """Looks, and says what it found; the exit code is 1 where something does not work."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy doctor",
        positional=True,
        description="Look at this machine, or at runs: what is wrong, and what to do about it. "
        "The exit code is 1 where there is an error among the findings.",
    )
    findings: list[Finding] = []
    if not options.runs:
        findings = examine_machine()
        _report(findings, options)
    for path in options.runs:
        for run, found in _examined(RunFolder.open(path), options):
            say("", f"{run.path}:")
            _report(found, options)
            findings += found
    counts = Counter(finding.level for finding in findings)
    say("", ", ".join(f"{counts[level]} {level}" for level in reversed(LEVELS)))
    if worst(findings) == "error":
        raise SystemExit(1)


def _examined(folder: RunFolder, options: Options) -> Iterator[tuple[RunFolder, list[Finding]]]:
    """A folder of several seeds, where some are missing, and every seed that is there."""
    if missing := list(seeds_are_there(folder)):
        yield folder, missing
    for seed in folder.seeds():
        if "seeds" not in seed.config():  # otherwise none was begun
            yield seed, examine_run(seed, data_root=options.data_root)


def _report(findings: Sequence[Finding], options: Options) -> None:
    for finding in findings:
        if finding.level != "ok" or not options.quiet:
            say(*finding.lines())
