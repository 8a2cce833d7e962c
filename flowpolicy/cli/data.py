"""``flowpolicy data generate <dataset>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy import data
from flowpolicy.cli.console import parse, say
from flowpolicy.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        dataset: Data set to make, for instance pointmaze-medium-navigate or cube-single-play.
        transitions: Training transitions, rounded up to whole episodes.
        val_transitions: Validation transitions; a tenth of the training ones by default.
        seed: Determines every number in the data, whatever the number of jobs.
        root: Folder; by default $FLOWPOLICY_DATA or ~/.ogbench/data, where training looks too.
        jobs: Processes; by default one per core.
        overwrite: Replace a data set of this name.
    """

    dataset: str
    transitions: int = 100_000
    val_transitions: int | None = None
    seed: int = 0
    root: Path | None = None
    jobs: int | None = None
    overwrite: bool = False


def command(arguments: Sequence[str]) -> None:
    """Generates a data set."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say("usage: flowpolicy data generate <dataset> [options]", "")
        say("  generate  record a data set with the scripted expert of its environment", "")
        say("flowpolicy data generate --help tells about the options.")
        if not arguments:
            raise ConfigError("what to do with data? flowpolicy data generate <dataset>")
        return
    action, *rest = arguments
    if action != "generate":
        raise unknown_name("data command", action, ["generate"])
    options = parse(
        Options,
        rest,
        program="flowpolicy data generate",
        positional=True,
        description="Record a data set with the scripted expert of its environment; a command that "
        "was stopped goes on where it was when it is run again.",
    )
    path = data.generate(
        options.dataset,
        transitions=options.transitions,
        val_transitions=options.val_transitions,
        seed=options.seed,
        root=options.root,
        jobs=options.jobs,
        overwrite=options.overwrite,
    )
    say(f"data set: {path}")
