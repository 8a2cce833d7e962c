"""The parts of a training run while it lasts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from flowpolicy import ranks
from flowpolicy.checkpoint.agent_files import ONLINE, agent_from_files
from flowpolicy.checkpoint.contents import tensors_in
from flowpolicy.checkpoint.policy import deployed_actor
from flowpolicy.data import Dataset
from flowpolicy.errors import unknown_name
from flowpolicy.evaluate import evaluate, protocol
from flowpolicy.freed_memory import keep_freed_memory
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.best import best_step
from flowpolicy.train.claim import Resume, claim
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.divergence import SkipWatch
from flowpolicy.train.interaction import Interaction
from flowpolicy.train.online import ONLINE_PROTOCOLS
from flowpolicy.train.phases import OfflinePhase, OnlinePhase, Phase
from flowpolicy.train.precision import products_in
from flowpolicy.train.progress import Progress
from flowpolicy.train.records import CsvFile, TensorBoard, evaluation_row
from flowpolicy.train.resume import (
    Position,
    require_same_data,
    require_same_data_in,
    require_same_run,
    warn_of_other_bits,
)
from flowpolicy.train.stop import AgreedStop, Stopped, StopRequest
from flowpolicy.train.streams import stream_seed
from flowpolicy.train.task import seeded_agent
from flowpolicy.train.versions import versions


class Run:
    """The parts of a run while it lasts, turn by turn.

    A turn is an update on the data, or a step in the environment with the update that follows it:
    ``next_batch`` begins it, ``end_turn`` ends it, and whoever has the run updates in between.

    Args:
        config: The run.
        out: Its folder.
        stop: What asks it to stop.
        data: The data set, and how its observations are preprocessed.
        resume: Whether to go on with the run in the folder.
        progress: Show a progress bar.
        line: Line of the bar.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: str | os.PathLike[str],
        stop: StopRequest | AgreedStop,
        data: tuple[Dataset, Mapping[str, Tensor]],
        *,
        resume: Resume,
        progress: bool,
        line: int,
    ) -> None:
        self.config = config
        self.stop = stop
        self.leads = ranks.leads()  # and writes; other processes of the run only learn
        self.dataset, self.preprocessing = data
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

        def require_same(folder: RunFolder) -> None:
            require_same_run(folder, config)
            if folder.checkpoints.steps():
                record = folder.read_json("data.json")
                require_same_data(str(folder.path), record, self.dataset)

        self.folder, self.lock = RunFolder(Path(out)), None
        if self.leads:
            self.folder, self.lock = claim(out, config.to_dict(), resume, require_same)
        steps = self.folder.checkpoints.steps() if self.leads else []
        self.resumes = resume is True or bool(ranks.largest(len(steps)))
        if self.leads and not self.resumes:
            self.folder.forget_tables()
            self.folder.write_json("versions.json", versions())
            self.folder.write_json("data.json", self.dataset.info.to_dict())
        self.saved_config = {**config.to_dict(), "recipe": recipe}
        self.checkpoints = self.folder.checkpoints
        self.checkpoints.keep = config.keep_checkpoints
        self.metrics = CsvFile(self.folder.metrics)
        self.evaluations = CsvFile(self.folder.evaluations)
        self.tensorboard = TensorBoard(self.folder.path, enabled=config.tensorboard and self.leads)
        self.skips = SkipWatch(self.agent, self.folder, config.max_skips)
        if resume and not self.resumes:
            self.tensorboard.forget_after(-1)
        self.turns = config.offline_steps + config.online_steps
        label = f"{config.agent} seed {config.seed}"
        self.progress = Progress(label, self.turns, position=line, visible=progress and self.leads)
        self.started = self.clock = time.perf_counter()
        self.turn = self.logged_turn = self.logged_step = 0
        self.batch: TensorDict | None = None
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

    @property
    def finished(self) -> bool:
        """Whether there was the last turn."""
        return self.turn >= self.turns

    def begin(self) -> None:
        """What comes before the first turn."""
        keep_freed_memory()
        if self.evaluates_first:
            self.evaluate()
            self.keep_best()
        self.clock = time.perf_counter()

    def next_batch(self) -> TensorDict | None:
        """Begins a turn; the batch to update with, or ``None`` where the turn has no update."""
        if self.turn >= self.config.offline_steps:
            self.phase = self.online
        self.batch = self.phase.batch(self.config.batch_size) if self.phase.advance() else None
        return self.batch

    def end_turn(self, metrics: TensorDictBase | None) -> None:
        """Ends a turn with the metrics of its update: writes, saves and evaluates what is due."""
        self.write(metrics)
        self.assess(updated=metrics is not None)

    def write(self, metrics: TensorDictBase | None) -> None:
        """The first half of the end of a turn: writes and saves what is due."""
        self.turn += 1
        if metrics is None:
            return
        saves = self.due(self.config.checkpoint_every)
        if saves or self.due(self.config.eval_every) or _every(self.turn, self.config.log_every):
            self.log(metrics)
            self.clock = time.perf_counter()
        if saves:
            self.save()

    def assess(self, *, updated: bool) -> None:
        """The second half: evaluates if it is due, and stops if that was asked for."""
        if updated and self.due(self.config.eval_every):
            self.evaluate()
            self.keep_best()
        self.heed()

    def heed(self) -> None:
        """Stops if that was asked for."""
        if not self.finished:
            self.stop.raise_if_requested()

    def end(self) -> None:
        """What comes after the last turn."""
        if self.leads:
            learning_curve([self.folder], self.folder.curve)

    def due(self, every: int) -> bool:
        """Whether it is time for what happens so often, and at the end of a phase."""
        return self.due_at(self.turn, every)

    def due_at(self, turn: int, every: int) -> bool:
        """Whether it was time at a turn for what happens so often, or that ended a phase."""
        return turn in (self.config.offline_steps, self.turns) or _every(turn, every)

    def restore(self, step: int | None = None) -> str:
        """Puts a checkpoint in place, the newest intact one if ``None``; says where that is."""
        loaded = self.checkpoints.read(step)
        origin = f"checkpoint {loaded.path}"
        require_same_data_in(loaded, self.dataset)
        agent_from_files(loaded.files, self.agent, origin=origin, generators=self.generators)
        warn_of_other_bits(loaded, self.config.device)
        self.turn = self.agent.step
        if ONLINE in loaded.files:
            self.online.load(tensors_in(loaded.files, ONLINE, origin), origin)
            self.phase = self.online
            self.turn = self.config.offline_steps + self.phase.env_steps
        if not self.config.online_steps:  # where turns and steps are the same
            every = self.config.checkpoint_every
            steps = self.checkpoints.steps()
            self.checkpoints.beside = {step for step in steps if not self.due_at(step, every)}
        here = self.here
        self.logged_turn, self.logged_step = self.turn, here.step
        ranks.wait()  # until all have read
        again = self._trim_files() if self.leads else False
        self.evaluates_first = bool(ranks.largest(again))
        self.tensorboard.forget_after(here.step)
        self.progress.advance(self.turn)
        return f"resumed at {here}"

    def _trim_files(self) -> bool:
        """Drops what was written after this; whether the evaluation due here is missing."""
        here = self.here
        self.checkpoints.drop_after(here.step)
        if rows := self.metrics.trim(here.reaches):
            self.started -= float(rows[-1]["seconds"])
        latest = [row for row in self.evaluations.trim(here.reaches) if here.equals(row)]
        if self.config.keep_best:
            self.checkpoints.mark_best(self.best_of(self.checkpoints.steps()))
        if not self.due(self.config.eval_every) or len(latest) >= len(self.config.eval_actors):
            return False
        self.evaluations.trim(lambda row: here.reaches(row) and not here.equals(row))
        return True

    def log(self, metrics: TensorDictBase) -> None:
        """Reads the metrics of the latest update."""
        step, env_steps = self.here
        names = sorted(metrics.keys(), key=lambda name: (not name.startswith("loss"), name))
        values = torch.stack([metrics[name].float().mean() for name in names]).tolist()
        row = dict(zip(names, values, strict=True))
        seconds = time.perf_counter() - self.clock
        rate = (step - self.logged_step) / max(seconds, 1e-9)
        self.progress.advance(self.turn - self.logged_turn)
        self.logged_turn, self.logged_step = self.turn, step
        self.progress.show(_headline(row))
        timing = {"seconds": round(time.perf_counter() - self.started, 3), "rate": round(rate, 2)}
        if self.leads:
            self.metrics.append({"step": step, "env_steps": env_steps, **timing, **row})
        self.tensorboard.log("train", {"updates_per_second": rate, **row}, step)
        if self.batch is not None:
            with products_in(self.config):  # where it looks for the reason, by another update
                self.skips.look(row, self.batch, ends=self.finished)

    def evaluate(self) -> None:
        """Runs the episodes of every wanted actor; one process does, the others wait."""
        with contextlib.suppress(Stopped):  # all processes are told in a moment
            if self.leads:
                self._run_episodes()
        self.stop.agree()
        self.clock = time.perf_counter()

    def _run_episodes(self) -> None:
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

    @property
    def is_best(self) -> bool:
        """Whether the evaluation of just now is the best of those that have a checkpoint."""
        step = self.agent.step
        if not (self.leads and self.config.keep_best and step):
            return False
        return self.best_of({*self.checkpoints.steps(), step}) == step

    def keep_best(self) -> None:
        """Keeps the state of just now where its evaluation is the best."""
        if self.is_best:
            self.save(beside=True)
            self.checkpoints.mark_best(self.agent.step)

    def best_of(self, steps: Collection[int]) -> int | None:
        """Which of these steps had the best evaluation."""
        return best_step(self.folder, self.config.eval_actors[0], steps)

    def save(self, *, beside: bool = False) -> None:
        """Writes a checkpoint unless this step has one; ``beside`` those that are kept in turn."""
        if not self.leads or self.agent.step in self.checkpoints.steps():
            return
        self.checkpoints.save(
            self.agent,
            config=self.saved_config,
            generators=self.generators,
            preprocessing=self.preprocessing,
            online=self.phase.state(),
            data=self.dataset.info.to_dict(),
            beside=beside,
        )
        self.tensorboard.flush()

    def close(self) -> None:
        """Lets go of files, the environment and the terminal."""
        self.phase.close()
        self.progress.close()
        self.tensorboard.close()
        if self.lock is not None:
            self.lock.release()


def _headline(row: dict[str, float]) -> dict[str, float]:
    """One loss for the progress bar; the latest score stands beside it."""
    for name in ("loss_qvalue", "loss_flow"):
        if name in row:
            return {name: row[name]}
    return dict(list(row.items())[:1])


def _every(turn: int, every: int) -> bool:
    return every > 0 and turn % every == 0
