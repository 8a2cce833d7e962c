"""One training run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowpolicy import ranks
from flowpolicy.checkpoint.device import require_device
from flowpolicy.data import Dataset
from flowpolicy.errors import require_installed
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.claim import Resume, finished_already
from flowpolicy.train.compilation import compile_where_it_pays, example_batch
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.precision import products_in
from flowpolicy.train.process_group import process_group, require_shareable
from flowpolicy.train.resume import require_same_run
from flowpolicy.train.run import Run
from flowpolicy.train.stop import AgreedStop, Stopped, StopRequest
from flowpolicy.train.task import describe, prepare


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    resume: Resume = False,
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
    ``tensorboard/``. The learner is asked for numbers only every ``config.log_every`` steps. The
    process keeps freed memory from then on, see :func:`flowpolicy.keep_freed_memory`.

    A run that was stopped or killed goes on from its newest intact checkpoint with ``resume=True``:
    offline on the CPU bit by bit as if nothing had happened, online with the transitions that it
    had seen and at the start of another episode, because a simulator's state cannot be saved. A
    warm-up, which makes no update, is repeated from its beginning.

    In processes that ``torchrun`` started, all of them train this one agent, see
    :meth:`~flowpolicy.agents.Agent.distribute`; the first writes and evaluates.

    Args:
        config: The run.
        out: The folder to make.
        dataset: Data of one's own; ``config.env`` then names only the environment to evaluate in.
            The bounds of its actions become part of the saved policy, see
            :meth:`~flowpolicy.checkpoint.DeployedPolicy.environment_action`.
        resume: Go on with the run in ``out``, which must be one of ``config`` on the same data.
            ``"auto"`` begins it where there is no folder, or no checkpoint in it, and does nothing
            where it is finished: the same call again is all that a killed run needs.
        progress: Show a progress bar.
        position: Line of the bar, where several runs share a terminal.
        announce: Called with one line about the data before the first update, and with one about
            where a run goes on.

    Raises:
        ConfigError: The folder exists (with ``resume``: is not that of such a run), or the data
            set, the device or one of the actors does not.
        CheckpointError: There is no intact checkpoint to go on from.
        DataError: The data, or what the environment gives, cannot be used.
        DivergedError: ``config.max_skips`` updates in a row were skipped, or all, because a loss or
            the gradient was not finite; names the first tensor that was not and the last good
            checkpoint. The batch is saved as ``bad_batch.safetensors``.
        Stopped: SIGINT or SIGTERM came; the state is saved if there was an update.

    Example:
        >>> config = TrainConfig(agent="fql", env="cube-single-play-singletask-v0")
        >>> folder = train(config, "runs/cube")  # doctest: +SKIP
    """
    say = announce or (lambda _: None)
    with process_group(config.device), telling_of([RunFolder(Path(out))]), StopRequest() as request:
        require_shareable(config, ranks.count())
        # What would be missed only at the end should not come to light after hours.
        if resume == "auto":
            if finished_already(out, config):
                say(f"{out} is finished: there is nothing to do")
                return RunFolder.open(out)
        elif resume:
            require_same_run(RunFolder.open(out), config)
        else:
            RunFolder.refuse_existing(out)
        require_device(config.device)
        require_installed("train", "matplotlib", extra="cli")
        stop = request if ranks.count() == 1 else AgreedStop(request)
        data = prepare(config, dataset)
        stop.agree()
        run = Run(config, out, stop, data, resume=resume, progress=progress, line=position)
        with closing([run]):
            say(f"data: {describe(run.dataset)}")
            if ranks.count() > 1:
                run.agent.distribute()
                say(f"processes: {ranks.count()}, {config.batch_size // ranks.count()} rows each")
            batch = example_batch(run.dataset, config.batch_size)
            for line in compile_where_it_pays(run.agent, batch, config):
                say(line)
            if run.resumes:
                say(run.restore())
            run.begin()
            while not run.finished:
                rows = run.next_batch()
                with products_in(config):
                    metrics = None if rows is None else run.agent.update(rows)
                run.end_turn(metrics)
            run.end()
    return run.folder


@contextmanager
def telling_of(folders: Sequence[RunFolder]) -> Iterator[None]:
    """Where a stop comes, notes whether these runs have a checkpoint, of whichever time."""
    try:
        yield
    except Stopped as stopped:
        stopped.saved = any(folder.checkpoints.steps() for folder in folders)
        raise


@contextmanager
def closing(runs: Sequence[Run]) -> Iterator[None]:
    """Saves the runs where they are asked to stop, and lets go of them in any case."""
    try:
        yield
    except Stopped:
        for run in runs:
            if run.agent.step:
                run.save()
        raise
    finally:
        for run in runs:
            run.close()
