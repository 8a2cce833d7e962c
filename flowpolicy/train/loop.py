"""One training run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDictBase

from flowpolicy.checkpoint.device import require_device
from flowpolicy.checkpoint.policy import deployed_actor
from flowpolicy.data import Dataset
from flowpolicy.errors import ConfigError, FlowPolicyError, require_installed, unknown_name
from flowpolicy.evaluate import Evaluation, environments, evaluate, protocol
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.progress import Progress
from flowpolicy.train.records import CsvFile, TensorBoard
from flowpolicy.train.stop import Stopped, StopRequest
from flowpolicy.train.task import describe, load_dataset, seeded_agent
from flowpolicy.train.versions import versions

EVALUATION_COLUMNS = (
    "step",
    "actor",
    "success",
    "low",
    "high",
    "successes",
    "episodes",
    "return",
    "return_std",
    "length",
    "seconds",
)


class DivergedError(FlowPolicyError, ArithmeticError):
    """A loss is no longer a finite number."""


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    progress: bool = True,
    position: int = 0,
    announce: Callable[[str], None] | None = None,
) -> RunFolder:
    """Trains an agent and writes everything about it into the new folder ``out``.

    The folder holds ``config.json``, ``versions.json``, ``data.json``, ``metrics.csv``,
    ``eval.csv``, ``curve.png``, ``checkpoints/`` (the newest is ``checkpoints/last``) and
    ``tensorboard/``. The learner is asked for numbers only every ``config.log_every`` updates.

    Args:
        config: The run.
        out: The folder to make.
        dataset: Data of one's own; ``config.env`` then names only the environment to evaluate in.
            The bounds of its actions become part of the saved policy, see
            :meth:`~flowpolicy.checkpoint.DeployedPolicy.environment_action`.
        progress: Show a progress bar.
        position: Line of the bar, where several runs share a terminal.
        announce: Called with one line about the data before the first update.

    Raises:
        ConfigError: The folder exists, or the data set, the device or one of the actors does not.
        DataError: The data cannot be used.
        DivergedError: A loss is not finite; names it and the last good checkpoint.
        Stopped: SIGINT or SIGTERM came; the state is saved if there was an update.

    Example:
        >>> config = TrainConfig(agent="fql", env="cube-single-play-singletask-v0")
        >>> folder = train(config, "runs/cube")  # doctest: +SKIP
    """
    # What would be missed only at the end should not come to light after hours.
    RunFolder.refuse_existing(out)
    require_device(config.device)
    require_installed("train", "matplotlib", extra="cli")
    with StopRequest() as stop:
        run = _Run(config, out, stop, dataset=dataset, progress=progress, position=position)
        try:
            if announce is not None:
                announce(f"data: {describe(run.dataset)}")
            run.loop()
        except Stopped as stopped:
            if run.agent.step:
                run.save()
            stopped.saved = bool(run.checkpoints.steps())
            raise
        finally:
            run.close()
    return run.folder


class _Run:
    """The parts of a run while it lasts."""

    def __init__(
        self,
        config: TrainConfig,
        out: str | os.PathLike[str],
        stop: StopRequest,
        *,
        dataset: Dataset | None,
        progress: bool,
        position: int,
    ) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        self.stop = stop
        self.dataset, self.preprocessing = load_dataset(config, dataset)
        _require_environment(config.env, self.dataset)  # before anything is learned
        stop.raise_if_requested()
        recipe = {
            "agent": config.agent,
            "obs_dim": self.dataset.obs_dim,
            "act_dim": self.dataset.act_dim // config.horizon,
            "options": config.recipe,
        }
        self.agent = seeded_agent(config, recipe)
        for actor in config.eval_actors:
            if actor not in self.agent.actors:
                raise unknown_name(f"actor of {config.agent}", actor, self.agent.actors)
        device = self.dataset.device
        self.batches = torch.Generator(device=device).manual_seed(config.seed)
        self.folder = RunFolder.create(out, config.to_dict())
        self.folder.write_json("versions.json", versions())
        self.folder.write_json("data.json", self.dataset.info.to_dict())
        self.saved_config = {**config.to_dict(), "recipe": recipe}
        self.checkpoints = self.folder.checkpoints
        self.checkpoints.keep = config.keep_checkpoints
        self.metrics = CsvFile(self.folder.metrics)
        self.evaluations = CsvFile(self.folder.evaluations, EVALUATION_COLUMNS)
        self.tensorboard = TensorBoard(self.folder.path, enabled=config.tensorboard)
        label = f"{config.agent} seed {config.seed}"
        self.progress = Progress(label, config.offline_steps, position=position, visible=progress)
        self.started = time.perf_counter()
        self.logged_step = 0

    def loop(self) -> None:
        """All updates with everything that happens between them."""
        config, agent = self.config, self.agent
        if config.eval_at_start:
            self.evaluate()
        clock = time.perf_counter()
        while agent.step < config.offline_steps:
            metrics = agent.update(self.dataset.sample(config.batch_size, self.batches))
            step = agent.step
            last = step == config.offline_steps
            evaluates = last or _due(step, config.eval_every)
            saves = last or _due(step, config.checkpoint_every)
            if evaluates or saves or _due(step, config.log_every):
                self.log(metrics, clock)
            if saves:
                self.save()
            if evaluates:
                self.evaluate()
            if evaluates or saves or _due(step, config.log_every):
                clock = time.perf_counter()
            if not last:
                self.stop.raise_if_requested()
        learning_curve([self.folder], self.folder.curve)

    def log(self, metrics: TensorDictBase, clock: float) -> None:
        """Reads the metrics of the latest update, refuses a loss that is not finite."""
        step = self.agent.step
        names = sorted(metrics.keys(), key=lambda name: (not name.startswith("loss"), name))
        values = torch.stack([metrics[name].float().mean() for name in names]).tolist()
        row = dict(zip(names, values, strict=True))
        updates = step - self.logged_step
        seconds = time.perf_counter() - clock
        self.logged_step = step
        rate = updates / max(seconds, 1e-9)
        self.progress.advance(updates)
        self.progress.show(_headline(row))
        timing = {"seconds": round(time.perf_counter() - self.started, 3), "rate": round(rate, 2)}
        self.metrics.append({"step": step, **timing, **row})
        self.tensorboard.log("train", {"updates_per_second": rate, **row}, step)
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if any(name.startswith("loss") for name in bad):
            self._diverged(bad)

    def evaluate(self) -> None:
        """Runs the episodes of every wanted actor."""
        config, step = self.config, self.agent.step
        for name in config.eval_actors:
            actor = deployed_actor(self.agent, name, self.preprocessing, config.horizon)
            actor = protocol(config.protocol).acting(actor).to(config.device)
            with self.stop.interruptible():
                result = evaluate(
                    actor,
                    config.env,
                    episodes=config.eval_episodes,
                    seed=config.eval_seed,
                    workers=config.eval_workers,
                    max_steps=config.max_episode_steps,
                )
            row = evaluation_row(step, name, result)
            self.evaluations.append(row)
            self.tensorboard.log(f"eval/{name}", row, step)
            key = name if len(config.eval_actors) > 1 else "eval"
            rate = result.success_rate
            self.progress.show({key: result.mean_return if rate is None else rate})

    def save(self) -> None:
        """Writes a checkpoint unless this step has one."""
        if self.agent.step in self.checkpoints.steps():
            return
        self.checkpoints.save(
            self.agent,
            config=self.saved_config,
            generators={"batches": self.batches},
            preprocessing=self.preprocessing,
        )

    def close(self) -> None:
        """Lets go of files and the terminal."""
        self.progress.close()
        self.tensorboard.close()

    def _diverged(self, bad: list[str]) -> None:
        steps = self.checkpoints.steps()
        good = (
            f"the last good checkpoint is {self.checkpoints.path(steps[-1])}"
            if steps
            else "no checkpoint had been written"
        )
        raise DivergedError(
            f"{', '.join(bad)} not finite at update {self.agent.step}; {good}. Look at "
            f"{self.folder.metrics}, and try a lower learning rate"
        )


def evaluation_row(step: int, actor: str, result: Evaluation) -> dict[str, Any]:
    """One row of ``eval.csv``; empty cells where the environment knows no success."""
    low, high = result.interval or (None, None)
    return {
        "step": step,
        "actor": actor,
        "success": result.success_rate,
        "low": low,
        "high": high,
        "successes": None if result.successes is None else sum(result.successes),
        "episodes": result.episodes,
        "return": result.mean_return,
        "return_std": result.std_return,
        "length": result.mean_length,
        "seconds": round(result.seconds, 3),
    }


def _require_environment(name: str, dataset: Dataset) -> None:
    """Refuses an environment that cannot be made, or that the data are not of."""
    (env,) = environments(name, 1)
    for what, width, space in (
        ("observations", dataset.obs_dim, env.observation_space),
        ("actions", dataset.act_dim // dataset.info.horizon, env.action_space),
    ):
        if space.shape != (width,):
            raise ConfigError(
                f"the {what} of {dataset.info.name!r} have {width} components, those of {name} "
                f"{space.shape[0]}; evaluate in the environment that the data are of"
            )


def _headline(row: dict[str, float]) -> dict[str, float]:
    """One loss for the progress bar; the latest score stands beside it."""
    for name in ("loss_qvalue", "loss_flow"):
        if name in row:
            return {name: row[name]}
    return dict(list(row.items())[:1])


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
