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
        episode_length: Rows per episode; 1001 by default, 2001 in the giant maze.
        noise: Size of the noise: of the actions in mazes (0.5), of the plan in play data (0.1), at
            most of the actions in noisy data (0.1).
        noise_smoothing: Play data: smoothing of the plan's noise, in steps (0.5).
        min_norm: Noisy data: sets the slowest motion of the expert (0.4).
        random_actions: Play and noisy data: probability of a uniform action (0, noisy 0.1, noisy
            puzzle 0.2).
        overwrite: Replace a data set of this name.
    """

    dataset: str
    transitions: int = 100_000
    val_transitions: int | None = None
    seed: int = 0
    root: Path | None = None
    jobs: int | None = None
    episode_length: int | None = None
    noise: float | None = None
    noise_smoothing: float | None = None
    min_norm: float | None = None
    random_actions: float | None = None
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
        episode_length=options.episode_length,
        noise=options.noise,
        noise_smoothing=options.noise_smoothing,
        min_norm=options.min_norm,
        random_actions=options.random_actions,
        overwrite=options.overwrite,
    )
    say(f"data set: {path}")
