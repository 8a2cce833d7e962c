"""The same run with several seeds, all in one program."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, cast

import torch
from tensordict import TensorDict

from flowpolicy.agents import AgentStack
from flowpolicy.checkpoint import DamagedCheckpointError
from flowpolicy.data import Dataset
from flowpolicy.errors import ConfigError, require_installed
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.compilation import compile_where_it_pays, example_batch
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.divergence import DivergedError
from flowpolicy.train.loop import closing, telling_of
from flowpolicy.train.precision import products_in
from flowpolicy.train.run import Run
from flowpolicy.train.seeds import finished_runs, folder_of_seeds, require_seeds
from flowpolicy.train.stop import StopRequest
from flowpolicy.train.task import describe, prepare


def train_together(
    config: TrainConfig,
    seeds: Sequence[int],
    out: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    resume: Literal[False, "auto"] = False,
    progress: bool = True,
    announce: Callable[[str], None] | None = None,
) -> RunFolder:
    """Trains one agent per seed into ``out/seed_<n>``, all updated as one program.

    Each run is the one that ``train`` would make with its seed, up to rounding: the same weights at
    the start, batches and noise, evaluations and checkpoints of its own. Each folder is an ordinary
    run folder, and each seed of a stopped run can be resumed on its own. See
    :class:`~flowpolicy.agents.AgentStack`.

    Args:
        config: The run; its own seed is not used.
        seeds: The seeds.
        out: The folder to make.
        dataset: Data of one's own, in place of those that ``config.env`` names.
        resume: ``"auto"`` goes on with the seeds in ``out``, all from the newest step of which each
            has an intact checkpoint; see :func:`~flowpolicy.train.train`.
        progress: Show a progress bar for each.
        announce: Called with one line about the data, and one about compiling.

    Raises:
        ConfigError: The folder exists, the device does not, seeds are missing or repeated, or there
            are online steps, or the seeds in ``out`` have no common step.
        DivergedError: Too many updates of one of the seeds were skipped, see ``train``.
        Stopped: SIGINT or SIGTERM came; every seed is saved.
    """
    require_seeds(seeds)
    if config.online_steps:
        raise ConfigError(
            f"train_together: online_steps={config.online_steps} needs an environment of each "
            "agent's own. Use train_seeds, or online_steps=0"
        )
    require_installed("train", "matplotlib", extra="cli")
    say = announce or (lambda _: None)
    with (
        folder_of_seeds(config, seeds, out, resume=resume) as (folder, configs),
        telling_of([RunFolder(path) for path in configs]),
        StopRequest() as stop,
    ):
        if resume and len(finished_runs(configs)) == len(configs):
            say(f"{out} is finished: there is nothing to do")
            if not folder.curve.is_file():
                learning_curve([folder], folder.curve)
            return folder
        folders = [RunFolder(path) for path in configs]
        step = common_step(folders)
        if step is None:
            _forget(folders)
        data = prepare(config, dataset)
        stop.raise_if_requested()
        runs: list[Run] = []
        with closing(runs), _saving(runs):
            for i, (path, single) in enumerate(configs.items()):
                run = Run(single, path, stop, data, resume=resume, progress=progress, line=i)
                # While those of one step are being written, those before stay.
                run.checkpoints.keep = max(2, config.keep_checkpoints)
                run.checkpoints.keep_beside = 2
                runs.append(run)
            say(f"data: {describe(data[0])}")
            if step is not None:
                for line in dict.fromkeys(run.restore(step) for run in runs):
                    say(line)
            stack = AgentStack([run.agent for run in runs])  # of what was restored
            batch = example_batch(data[0], config.batch_size)
            batch = batch.expand(len(stack), *batch.batch_size)
            for line in compile_where_it_pays(stack, batch, config):
                say(line)
            for run in runs:
                run.begin()
            while not runs[0].finished:
                _turn(runs, stack)
            for run in runs:
                run.end()
        learning_curve([folder], folder.curve)
    return folder


@contextmanager
def _saving(runs: Sequence[Run]) -> Iterator[None]:
    """Saves all where one has diverged: what the others have learned is as good as before."""
    try:
        yield
    except DivergedError:
        for run in runs:
            run.save(beside=True)
        raise


def _turn(runs: Sequence[Run], stack: AgentStack) -> None:
    batches = [cast("TensorDict", run.next_batch()) for run in runs]
    with products_in(runs[0].config):
        metrics = stack.update(torch.stack(batches))
    for run, its_own in zip(runs, metrics.unbind(0), strict=True):
        run.write(its_own)  # all are saved before the first is evaluated
    if runs[0].due(runs[0].config.eval_every):
        _evaluate(runs)
    runs[0].heed()


def _evaluate(runs: Sequence[Run]) -> None:
    """Where one is at its best, all are saved, so that they have a step to go on from together."""
    for run in runs:
        run.evaluate()
    if any(run.is_best for run in runs):
        for run in runs:
            run.save(beside=True)
    for run in runs:
        run.keep_best()


def _forget(folders: Sequence[RunFolder]) -> None:
    """Removes the first checkpoints of those that were saved before the others could be."""
    for folder in folders:
        folder.checkpoints.drop_after(-1)


def common_step(folders: Sequence[RunFolder]) -> int | None:
    """The newest step of which every run has an intact checkpoint.

    ``None`` if none has any, or not yet all of them their first: then all begin anew.

    Raises:
        ConfigError: There is no such step; says which steps there are.
    """
    saved = {folder.path.name: folder.checkpoints.steps() for folder in folders}
    first = {step for steps in saved.values() for step in steps}
    if not all(saved.values()) and len(first) <= 1:
        return None
    for step in sorted(set.intersection(*map(set, saved.values())), reverse=True):
        try:
            for folder in folders:
                folder.checkpoints.read(step)
        except DamagedCheckpointError as error:
            warnings.warn(f"{error}; trying a step before it", stacklevel=2)
        else:
            return step
    told = "; ".join(f"{name}: {', '.join(map(str, has)) or 'none'}" for name, has in saved.items())
    raise ConfigError(
        f"the seeds have no intact checkpoint of one step in common ({told}); go on with each by "
        "itself, or remove the folder to begin anew"
    )
