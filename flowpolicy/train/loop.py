"""One training run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import cached_property

import torch
from tensordict import TensorDictBase

from flowpolicy.checkpoint.agent_files import ONLINE, tensors_in
from flowpolicy.checkpoint.device import require_device
from flowpolicy.checkpoint.policy import deployed_actor
from flowpolicy.data import Dataset
from flowpolicy.errors import FlowPolicyError, require_installed, unknown_name
from flowpolicy.evaluate import evaluate, protocol
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.compilation import compile_where_it_pays
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.interaction import Interaction
from flowpolicy.train.online import ONLINE_PROTOCOLS
from flowpolicy.train.phases import OfflinePhase, OnlinePhase, Phase
from flowpolicy.train.progress import Progress
from flowpolicy.train.records import EVALUATION_COLUMNS, CsvFile, TensorBoard, evaluation_row
from flowpolicy.train.resume import (
    Position,
    require_same_data,
    require_same_run,
    warn_of_other_bits,
)
from flowpolicy.train.stop import Stopped, StopRequest
from flowpolicy.train.streams import stream_seed
from flowpolicy.train.task import describe, load_dataset, require_environment, seeded_agent
from flowpolicy.train.versions import versions


class DivergedError(FlowPolicyError, ArithmeticError):
    """A loss is no longer a finite number."""


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    resume: bool = False,
    progress: bool = True,
    position: int = 0,
    announce: Callable[[str], None] | None = None,
) -> RunFolder:
    """Trains an agent and writes everything about it into the new folder ``out``.

    Offline, one update follows the other. Online, each follows a step of the environment, on
    batches of the data and of what was seen since, see
    :class:`~flowpolicy.train.online.OnlineProtocol`; the agent is the same.

    The folder holds ``config.json``, ``versions.json``, ``data.json``, ``metrics.csv``,
    ``eval.csv``, ``curve.png``, ``checkpoints/`` (the newest is ``checkpoints/last``) and
    ``tensorboard/``. The learner is asked for numbers only every ``config.log_every`` steps.

    A run that was stopped or killed goes on from its newest intact checkpoint with ``resume=True``:
    offline on the CPU bit by bit as if nothing had happened, online with the transitions that it
    had seen and at the start of another episode, because a simulator's state cannot be saved. A
    warm-up, which makes no update, is repeated from its beginning.

    Args:
        config: The run.
        out: The folder to make.
        dataset: Data of one's own; ``config.env`` then names only the environment to evaluate in.
            The bounds of its actions become part of the saved policy, see
            :meth:`~flowpolicy.checkpoint.DeployedPolicy.environment_action`.
        resume: Go on with the run in ``out``, which must be one of ``config`` on the same data.
        progress: Show a progress bar.
        position: Line of the bar, where several runs share a terminal.
        announce: Called with one line about the data before the first update, and with one about
            where a run goes on.

    Raises:
        ConfigError: The folder exists (with ``resume``: is not that of such a run), or the data
            set, the device or one of the actors does not.
        CheckpointError: There is no intact checkpoint to go on from.
        DataError: The data, or what the environment gives, cannot be used.
        DivergedError: A loss is not finite; names it and the last good checkpoint.
        Stopped: SIGINT or SIGTERM came; the state is saved if there was an update.

    Example:
        >>> config = TrainConfig(agent="fql", env="cube-single-play-singletask-v0")
        >>> folder = train(config, "runs/cube")  # doctest: +SKIP
    """
    # What would be missed only at the end should not come to light after hours.
    if resume:
        require_same_run(RunFolder.open(out), config)
    else:
        RunFolder.refuse_existing(out)
    require_device(config.device)
    require_installed("train", "matplotlib", extra="cli")
    with StopRequest() as stop:
        run = _Run(config, out, stop, dataset, resume=resume, progress=progress, line=position)
        try:
            say = announce or (lambda _: None)
            say(f"data: {describe(run.dataset)}")
            say(compile_where_it_pays(run.agent, run.dataset, config))
            if resume:
                say(run.restore())
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
        dataset: Dataset | None,
        *,
        resume: bool,
        progress: bool,
        line: int,
    ) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        self.stop = stop
        self.dataset, self.preprocessing = load_dataset(config, dataset)
        require_environment(config, self.dataset)  # before anything is learned
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
        self.generators = {"batches": torch.Generator(device).manual_seed(config.seed)}
        if config.online_steps:
            # Not the numbers that choose the batches: warm-up actions would repeat in them.
            behaviour = stream_seed(config.seed, "behaviour")
            self.generators["behaviour"] = torch.Generator(device).manual_seed(behaviour)
        if resume:
            self.folder = RunFolder.open(out)
            require_same_data(self.folder, self.dataset)
        else:
            self.folder = RunFolder.create(out, config.to_dict())
            self.folder.write_json("versions.json", versions())
            self.folder.write_json("data.json", self.dataset.info.to_dict())
        self.saved_config = {**config.to_dict(), "recipe": recipe}
        self.checkpoints = self.folder.checkpoints
        self.checkpoints.keep = config.keep_checkpoints
        self.metrics = CsvFile(self.folder.metrics)
        self.evaluations = CsvFile(self.folder.evaluations, EVALUATION_COLUMNS)
        self.tensorboard = TensorBoard(self.folder.path, enabled=config.tensorboard)
        self.turns = config.offline_steps + config.online_steps
        label = f"{config.agent} seed {config.seed}"
        self.progress = Progress(label, self.turns, position=line, visible=progress)
        self.started = time.perf_counter()
        self.turn = self.logged_turn = self.logged_step = 0
        self.phase: Phase = OfflinePhase(self.dataset, self.generators["batches"])
        self.evaluates_first = config.eval_at_start

    @property
    def here(self) -> Position:
        """How far the run is."""
        return Position(self.agent.step, self.phase.env_steps)

    @cached_property
    def online(self) -> OnlinePhase:
        """The phase after the offline one, made when it begins."""
        config = self.config
        policy = deployed_actor(self.agent, "policy", self.preprocessing, config.horizon)
        interaction = Interaction(
            config.env,
            policy.to(config.device),
            self.dataset,
            self.generators["behaviour"],
            seed=config.seed,
            max_episode_steps=config.max_episode_steps,
            observation_mean=self.preprocessing.get("observation_mean"),
            observation_std=self.preprocessing.get("observation_std"),
        )
        protocol = ONLINE_PROTOCOLS[config.online_protocol]
        experience = protocol.experience(
            self.dataset, config.online_steps, self.generators["batches"]
        )
        return OnlinePhase(protocol, interaction, experience)

    def loop(self) -> None:
        """All updates with everything that happens between them."""
        config = self.config
        if self.evaluates_first:
            self.evaluate()
        clock = time.perf_counter()
        while self.turn < self.turns:
            if self.turn >= config.offline_steps:
                self.phase = self.online
            updates = self.phase.advance()
            if updates:
                metrics = self.agent.update(self.phase.batch(config.batch_size))
            self.turn += 1
            evaluates = updates and self.due(config.eval_every)
            saves = updates and self.due(config.checkpoint_every)
            logs = updates and (evaluates or saves or _every(self.turn, config.log_every))
            if logs:
                self.log(metrics, clock)
            if saves:
                self.save()
            if evaluates:
                self.evaluate()
            if logs:
                clock = time.perf_counter()
            if self.turn < self.turns:
                self.stop.raise_if_requested()
        learning_curve([self.folder], self.folder.curve)

    def due(self, every: int) -> bool:
        """Whether it is time for what happens so often, and at the end of a phase."""
        ends = (self.config.offline_steps, self.turns)
        return self.turn in ends or _every(self.turn, every)

    def restore(self) -> str:
        """Puts the newest intact checkpoint in place; says where that is."""
        loaded = self.checkpoints.load(self.agent, generators=self.generators)
        origin = f"checkpoint {loaded.path}"
        warn_of_other_bits(loaded)
        self.checkpoints.drop_after(self.agent.step)
        self.turn = self.agent.step
        if ONLINE in loaded.files:
            self.online.load(tensors_in(loaded.files, ONLINE, origin), origin)
            self.phase = self.online
            self.turn = self.config.offline_steps + self.phase.env_steps
        here = self.here
        self.logged_turn, self.logged_step = self.turn, here.step
        if rows := self.metrics.trim(here.reaches):
            self.started -= float(rows[-1]["seconds"])
        latest = [row for row in self.evaluations.trim(here.reaches) if here.equals(row)]
        self.evaluates_first = False
        if self.due(self.config.eval_every) and len(latest) < len(self.config.eval_actors):
            self.evaluations.trim(lambda row: here.reaches(row) and not here.equals(row))
            self.evaluates_first = True
        self.progress.advance(self.turn)
        return f"resumed at {here}"

    def log(self, metrics: TensorDictBase, clock: float) -> None:
        """Reads the metrics of the latest update, refuses a loss that is not finite."""
        step, env_steps = self.here
        names = sorted(metrics.keys(), key=lambda name: (not name.startswith("loss"), name))
        values = torch.stack([metrics[name].float().mean() for name in names]).tolist()
        row = dict(zip(names, values, strict=True))
        seconds = time.perf_counter() - clock
        rate = (step - self.logged_step) / max(seconds, 1e-9)
        self.progress.advance(self.turn - self.logged_turn)
        self.logged_turn, self.logged_step = self.turn, step
        self.progress.show(_headline(row))
        timing = {"seconds": round(time.perf_counter() - self.started, 3), "rate": round(rate, 2)}
        self.metrics.append({"step": step, "env_steps": env_steps, **timing, **row})
        self.tensorboard.log("train", {"updates_per_second": rate, **row}, step)
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if any(name.startswith("loss") for name in bad):
            self._diverged(bad)

    def evaluate(self) -> None:
        """Runs the episodes of every wanted actor."""
        config, here = self.config, self.here
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
            row = evaluation_row(*here, name, result)
            self.evaluations.append(row)
            self.tensorboard.log(f"eval/{name}", row, here.step)
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
            generators=self.generators,
            preprocessing=self.preprocessing,
            online=self.phase.state(),
        )

    def close(self) -> None:
        """Lets go of files, the environment and the terminal."""
        self.phase.close()
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


def _headline(row: dict[str, float]) -> dict[str, float]:
    """One loss for the progress bar; the latest score stands beside it."""
    for name in ("loss_qvalue", "loss_flow"):
        if name in row:
            return {name: row[name]}
    return dict(list(row.items())[:1])


def _every(turn: int, every: int) -> bool:
    return every > 0 and turn % every == 0
