"""``flowpolicy demo``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.cli.console import parse, say, table
from flowpolicy.demo import DemoSummary, run_demo


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        out: Folder to make; an unfinished demo of these options there is gone on with, any other is
            moved to <out>-previous.
        seeds: Seeds of training.
        jobs: How many seeds train at a time, one thread each.
        offline_steps: Gradient steps per seed.
        episodes: Episodes per evaluation and seed.
    """

    out: Path = Path("runs/demo")
    seeds: tuple[int, ...] = (0, 1)
    jobs: int = 2
    offline_steps: int = 4000
    episodes: int = 20


def command(arguments: Sequence[str]) -> None:
    """Trains, compares, draws."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy demo",
        description="Train FQL on the embedded point maze and compare it with the flow behaviour "
        "clone inside the same agent.",
    )
    say(
        "FQL on pointmaze-medium-navigate-singletask (task 1), "
        f"{options.offline_steps:,} updates, seeds {', '.join(map(str, options.seeds))}",
        "",
    )
    summary = run_demo(
        options.out,
        seeds=options.seeds,
        jobs=options.jobs,
        offline_steps=options.offline_steps,
        episodes=options.episodes,
    )
    say("", *_table(summary), "")
    say(f"maze:     {summary.maze}", f"curve:    {summary.curve}", f"summary:  {summary.path}")
    say(f"{summary.seconds:.0f} seconds")


def _table(summary: DemoSummary) -> list[str]:
    seeds = [f"seed {seed}" for seed in summary.seeds]
    rows = [
        [
            score.name,
            f"{score.success_rate:.2f}",
            f"{score.low:.2f} to {score.high:.2f}",
            *(f"{rate:.2f}" for rate in score.per_seed),
        ]
        for score in summary.scores
    ]
    return table(["policy", "success", "95 % interval", *seeds], rows)
