"""``flowpolicy plot <run>...``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.cli.console import parse, say
from flowpolicy.errors import ConfigError
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        runs: Folders of runs.
        out: Picture to write; its suffix says the format (png, pdf, svg). By default curve.png in
            the folder of one run, curves.png here for several.
        labels: Names of the runs in the legend, as many as there are runs.
    """

    runs: tuple[Path, ...]
    out: Path | None = None
    labels: tuple[str, ...] = ()


def command(arguments: Sequence[str]) -> None:
    """Draws the curves of all runs into one picture."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy plot",
        positional=True,
        description="Draw the learning curves of one or several run folders.",
    )
    if not options.runs:
        raise ConfigError("which run? flowpolicy plot <run>...")
    folders = [RunFolder.open(run) for run in options.runs]
    out = options.out or (folders[0].curve if len(folders) == 1 else Path("curves.png"))
    say(f"picture: {learning_curve(folders, out, labels=options.labels or None)}")
