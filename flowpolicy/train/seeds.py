"""The same run with several seeds, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from flowpolicy.checkpoint.device import require_device
from flowpolicy.errors import ConfigError, FlowPolicyError
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.processes import train_all
from flowpolicy.train.versions import versions


class SeedError(FlowPolicyError, RuntimeError):
    """The run of one of several seeds failed."""


def require_seeds(seeds: Sequence[int]) -> None:
    """Refuses seeds that are missing or repeated."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds must be different numbers, at least one, got {list(seeds)}")


def folder_of_seeds(
    config: TrainConfig, seeds: Sequence[int], out: str | os.PathLike[str]
) -> tuple[RunFolder, dict[Path, TrainConfig]]:
    """The folder of several seeds of a run, and the run of each seed by the folder to make."""
    require_device(config.device)
    folder = RunFolder.create(out, {**config.to_dict(), "seeds": list(seeds)})
    folder.write_json("versions.json", versions())
    return folder, {folder.path / f"seed_{seed}": config.replace(seed=seed) for seed in seeds}


def train_seeds(
    config: TrainConfig,
    seeds: Sequence[int],
    out: str | os.PathLike[str],
    *,
    jobs: int = 2,
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
        progress: Show a progress bar for each.
        announce: Called with one line about the data.

    Raises:
        ConfigError: The folder exists, the device does not, or seeds are missing or repeated.
        SeedError: One of the runs failed; the others were finished.
        Stopped: SIGINT or SIGTERM came; every running seed is saved.
    """
    require_seeds(seeds)
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, got {jobs}")
    folder, runs = folder_of_seeds(config, seeds, out)
    failures = train_all(runs, jobs=jobs, progress=progress, announce=announce)
    if any(seed.read_evaluations() for seed in folder.seeds()):
        learning_curve([folder], folder.curve)
    if failures:
        out, message = next(iter(failures.items()))
        raise SeedError(
            f"{len(failures)} of {len(seeds)} seeds failed; seed {runs[out].seed}: {message}"
        )
    return folder
