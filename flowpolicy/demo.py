"""FQL against its own behaviour clone on the maze that comes with the package, in minutes.

Both policies are parts of one agent and share a velocity field: the clone integrates it in ten
Euler steps and imitates the data, which in every corridor go both ways; FQL's one-step policy is
distilled from it and pulled to where the critic expects the goal.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpolicy.checkpoint import load_policy
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.durable import STAGING_PREFIX
from flowpolicy.envs import make_gym
from flowpolicy.errors import ConfigError, require_at_least
from flowpolicy.evaluate import record_observations, wilson_interval
from flowpolicy.plot import Maze, Panel, maze_picture
from flowpolicy.results import Point, read_points
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig, train_seeds, versions
from flowpolicy.train.lock import WriterLock
from flowpolicy.train.seeds import require_seeds

ENV = "pointmaze-medium-navigate-singletask-v0"

NAMES = {"policy": "FQL, one step", "flow": "Flow behaviour clone"}
"""The actors that are compared."""

SETTINGS = TrainConfig(
    agent="fql",
    env=ENV,
    options={
        "hidden": (128, 128, 128),
        "flow_steps": 10,
        "alpha": 10.0,
        "scale": "unit",
        "tau": 0.02,
        "lr": 1e-3,
    },
    offline_steps=4000,
    batch_size=256,
    n_step=10,
    discount=0.995,
    eval_every=1000,
    eval_episodes=20,
    eval_actors=tuple(NAMES),
    checkpoint_every=500,
    threads=1,
    data_root=str(EMBEDDED),  # whatever other data of this name there are
)

PATHS = 10
"""Trajectories of each policy in the picture."""

CLONE_STEPS = 300
"""After so many steps the picture of a policy that wanders gets no clearer."""

_MARKER = "settings.json"
_RUN = "fql"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Score:
    """Success of one policy.

    Attributes:
        actor: Its name in the agent.
        name: Its name for people.
        successes: Episodes that reached the goal, over all seeds.
        episodes: Episodes over all seeds.
        per_seed: Success rate of each seed.
    """

    actor: str
    name: str
    successes: int
    episodes: int
    per_seed: tuple[float, ...]

    @property
    def success_rate(self) -> float:
        """Over the episodes of all seeds."""
        return self.successes / self.episodes

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return wilson_interval(self.successes, self.episodes)[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return wilson_interval(self.successes, self.episodes)[1]


@dataclass(frozen=True)
class DemoSummary:
    """What the demo found, and where it lies.

    Attributes:
        folder: The demo's folder.
        seeds: Seeds of training, in their order.
        scores: FQL first, then its clone.
        seconds: Wall-clock time of everything.
    """

    folder: Path
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]
    seconds: float

    @property
    def path(self) -> Path:
        """The summary as JSON."""
        return self.folder / SUMMARY

    @property
    def maze(self) -> Path:
        """The maze with sampled trajectories."""
        return self.folder / "maze.png"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return RunFolder(self.folder / _RUN).curve


def run_demo(
    out: str | os.PathLike[str],
    *,
    seeds: Sequence[int] = (0, 1),
    jobs: int = 2,
    offline_steps: int = SETTINGS.offline_steps,
    episodes: int = SETTINGS.eval_episodes,
    progress: bool = True,
) -> DemoSummary:
    """Trains, evaluates, and writes ``summary.json``, ``maze.png`` and the run into ``out``.

    A demo that was stopped or killed goes on where it was, and ends as if it had not been.

    Args:
        out: Folder; an earlier demo there that is complete, or had other settings, is moved to
            ``<out>-previous``.
        seeds: Seeds of training.
        jobs: How many seeds train at a time.
        offline_steps: Gradient steps per seed.
        episodes: Episodes per evaluation, actor and seed.
        progress: Show progress bars.

    Raises:
        ConfigError: ``out`` exists and is not the folder of a demo, or another one trains there.
    """
    require_seeds(seeds)  # before anything is moved or removed
    require_at_least("run_demo", "jobs", jobs, 1)
    started = time.perf_counter()
    folder = Path(out).resolve()  # "." has no name to put "-previous" behind
    config = SETTINGS.replace(
        offline_steps=offline_steps,
        eval_episodes=episodes,
        eval_every=min(SETTINGS.eval_every, offline_steps),
    )
    wanted = {**config.to_dict(), "seeds": list(seeds)}
    if not _is_begun(folder, wanted):
        _make_room(folder)
        folder.mkdir(parents=True, exist_ok=True)
        RunFolder(folder).write_json(_MARKER, wanted)
    run = train_seeds(config, seeds, folder / _RUN, jobs=jobs, resume="auto", progress=progress)
    points = {actor: [line[-1] for line in lines] for actor, lines in read_points(run).items()}
    scores = tuple(_score(actor, points[actor]) for actor in NAMES)
    _draw(run, scores, folder / "maze.png")
    summary = DemoSummary(folder, tuple(sorted(seeds)), scores, time.perf_counter() - started)
    RunFolder(folder).write_json(summary.path.name, _report(summary, config))
    return summary


def _is_begun(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether the folder holds such a demo that is not complete."""
    if not (folder / _MARKER).is_file() or (folder / SUMMARY).exists():
        return False
    return RunFolder(folder).read_json(_MARKER) == wanted


def _make_room(folder: Path) -> None:
    if not folder.exists() or all(p.name.startswith(STAGING_PREFIX) for p in folder.iterdir()):
        return  # or killed when it had just been made
    if not (folder / _MARKER).is_file():
        raise ConfigError(f"{folder} exists and is not an earlier demo; choose another with --out")
    previous = folder.with_name(f"{folder.name}-previous")
    if previous.exists() and not (previous / _MARKER).is_file():
        raise ConfigError(f"{previous} exists and is not an earlier demo; remove or rename it")
    run = folder / _RUN
    lock = WriterLock(run) if run.is_dir() else None  # refused where another demo trains
    try:
        if previous.exists():
            shutil.rmtree(previous)
        folder.rename(previous)
    finally:
        if lock is not None:
            lock.release()


def _score(actor: str, last: Sequence[Point]) -> Score:
    successes = [point.successes or 0 for point in last]
    return Score(
        actor=actor,
        name=NAMES[actor],
        successes=sum(successes),
        episodes=sum(point.episodes for point in last),
        per_seed=tuple(s / p.episodes for s, p in zip(successes, last, strict=True)),
    )


def _draw(run: RunFolder, scores: Sequence[Score], out: Path) -> None:
    seeds = run.seeds()
    share = max(1, PATHS // len(seeds))
    env = make_gym(ENV)
    env.reset(seed=0)
    maze = Maze.of(env)
    panels = []
    for score in scores:
        paths = []
        for number, seed in enumerate(seeds):
            policy = load_policy(seed.path, actor=score.actor)
            steps = None if score.actor == "policy" else CLONE_STEPS
            paths += record_observations(policy, ENV, episodes=share, seed=number, max_steps=steps)
        note = f"{score.successes} of {score.episodes} episodes reach the goal"
        panels.append(Panel(score.name, note, paths, [maze.solved(path) for path in paths]))
    env.close()
    caption = (
        f"{share} trajectories of each seed; a cross marks an end away from the goal; the clone is "
        f"shown for {CLONE_STEPS} of its 1,000 steps"
    )
    maze_picture(maze, panels, out, caption=caption)


def _report(summary: DemoSummary, config: TrainConfig) -> dict[str, Any]:
    return {
        "env": ENV,
        "seeds": list(summary.seeds),
        "offline_steps": config.offline_steps,
        "seconds": round(summary.seconds, 1),
        **{
            {"policy": "fql", "flow": "clone"}[score.actor]: {
                "success": score.success_rate,
                "interval": [score.low, score.high],
                "successes": score.successes,
                "episodes": score.episodes,
                "per_seed": {
                    str(seed): {
                        "success": rate,
                        "interval": list(_interval(rate, config.eval_episodes)),
                    }
                    for seed, rate in zip(summary.seeds, score.per_seed, strict=True)
                },
            }
            for score in summary.scores
        },
        "settings": config.to_dict(),
        "versions": versions(),
    }


def _interval(rate: float, episodes: int) -> tuple[float, float]:
    return wilson_interval(round(rate * episodes), episodes)
