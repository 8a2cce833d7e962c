"""The same run with several seeds, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from flowpolicy.checkpoint.device import require_device
from flowpolicy.errors import ConfigError, FlowPolicyError, require_at_least
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.claim import claim, is_finished
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.loop import train
from flowpolicy.train.process_group import started_by_torchrun
from flowpolicy.train.processes import train_all
from flowpolicy.train.resume import require_same_settings
from flowpolicy.train.versions import versions


class RunsFailedError(FlowPolicyError, RuntimeError):
    """Some of several runs failed; the others were finished."""


def require_seeds(seeds: Sequence[int]) -> None:
    """Refuses seeds that are missing or repeated."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds must be different numbers, at least one, got {list(seeds)}")
    if started_by_torchrun() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "torchrun shares out the batches of one agent among its processes; several seeds are "
            "started without it"
        )


@contextmanager
def folder_of_seeds(
    config: TrainConfig,
    seeds: Sequence[int],
    out: str | os.PathLike[str],
    *,
    resume: Literal[False, "auto"],
) -> Iterator[tuple[RunFolder, dict[Path, TrainConfig]]]:
    """The folder of several seeds of a run, and the run of each seed by its folder.

    Raises:
        ConfigError: As :func:`~flowpolicy.train.claim.claim`, or the device is not there.
    """
    require_device(config.device)
    values = {**config.to_dict(), "seeds": list(seeds)}
    runs = {f"seed_{n}": config.replace(seed=n) for n in seeds}  # refused before anything is made

    def require_same(folder: RunFolder) -> None:
        saved = folder.config()
        if (had := saved.pop("seeds", None)) != list(seeds):
            raise ConfigError(
                f"{folder.path} is a run of the seeds {had}, not {list(seeds)}; go on with those"
            )
        require_same_settings(folder, TrainConfig.from_dict(saved), config)

    folder, lock = claim(out, values, resume, require_same)
    try:
        folder.write_json("versions.json", versions())
        yield folder, {folder.path / name: run for name, run in runs.items()}
    finally:
        lock.release()


def train_seeds(
    config: TrainConfig,
    seeds: Sequence[int],
    out: str | os.PathLike[str],
    *,
    jobs: int = 2,
    resume: Literal[False, "auto"] = False,
    progress: bool = True,
    announce: Callable[[str], None] | None = None,
) -> RunFolder:
    """Trains one agent per seed, ``jobs`` at a time, into ``out/seed_<n>``.

    Every process uses one thread (unless ``config.threads`` says otherwise), so the results do not
    depend on ``jobs``. The folder's ``curve.png`` shows the episodes of all seeds together and
    every seed singly.

    Args:
        config: The run; its own seed is not used.
        seeds: The seeds.
        out: The folder to make.
        jobs: How many processes run at a time.
        resume: ``"auto"`` goes on with the seeds that are there, leaves those that are finished
            alone and begins the others; see :func:`~flowpolicy.train.train`.
        progress: Show a progress bar for each.
        announce: Called with one line about the data.

    Raises:
        ConfigError: The folder exists, or is that of another run; the device does not; seeds are
            missing or repeated.
        RunsFailedError: One of the runs failed; the others were finished.
        Stopped: SIGINT or SIGTERM came; every running seed is saved.
    """
    require_seeds(seeds)
    require_at_least("train_seeds", "jobs", jobs, 1)
    with folder_of_seeds(config, seeds, out, resume=resume) as (folder, runs):
        done = finished_runs(runs) if resume else []
        if announce is not None:
            for path in done:
                announce(f"{path} is finished: there is nothing to do")
        waiting = {path: run for path, run in runs.items() if path not in done}
        failures = train_all(
            waiting,
            trainer=partial(train, resume=resume),
            jobs=jobs,
            progress=progress,
            announce=announce,
        )
        drawn = folder.curve.is_file() and not waiting
        if not drawn and any(seed.read_evaluations() for seed in folder.seeds()):
            learning_curve([folder], folder.curve)
    if failures:
        out, message = next(iter(failures.items()))
        raise RunsFailedError(
            f"{len(failures)} of {len(seeds)} seeds failed; seed {runs[out].seed}: {message}"
        )
    return folder


def finished_runs(runs: Mapping[Path, TrainConfig]) -> list[Path]:
    """The folders of those runs that are finished."""
    return [path for path, run in runs.items() if is_finished(RunFolder(path), run)]
