"""One episode: recorded from generators of its own, kept as one small file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from flowpolicy.data.generate.columns import Columns
from flowpolicy.data.generate.settings import Settings
from flowpolicy.data.npz import read_npz
from flowpolicy.errors import DataError

SPLITS = ("train", "val")


class Expert(Protocol):
    """Records episodes in one environment, which it keeps."""

    def record(self, seeds: np.random.SeedSequence, length: int) -> Columns | None:
        """An episode of ``length`` rows, a function of ``seeds`` alone; None if it is unusable."""
        ...


def make_expert(settings: Settings) -> Expert:
    """The scripted expert of a data set, with its environment."""
    if settings.kind == "navigate":
        from flowpolicy.data.generate.maze import MazeExpert

        return MazeExpert(settings)
    from flowpolicy.data.generate.manipulation import ManipulationExpert

    return ManipulationExpert(settings)


def record_episode(expert: Expert, settings: Settings, split: str, index: int) -> Columns:
    """Record episode ``index`` of a split.

    Its generators come from (seed, split, index, attempt) only, so that the result does not depend
    on which process records it, nor on what was recorded before.
    """
    attempt = 0
    while True:
        entropy = [settings.seed, SPLITS.index(split), index, attempt]
        episode = expert.record(np.random.SeedSequence(entropy), settings.episode_length)
        if episode is not None:
            return episode
        attempt += 1


def shard_path(folder: Path, split: str, index: int) -> Path:
    """Where an episode is kept until all are there."""
    return folder / f"{split}-{index:06d}.npz"


def save_shard(path: Path, episode: Columns) -> None:
    """Write an episode; the file has its final name only once it is complete."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **episode)  # type: ignore[arg-type]  # the stubs see allow_pickle in **
    part.replace(path)


def load_shard(path: Path, settings: Settings) -> Columns | None:
    """Read an episode back; None if it is absent, damaged or not of these settings."""
    try:
        episode: Columns = read_npz(path, None)
    except DataError:
        return None
    if not episode or any(
        column.shape[:1] != (settings.episode_length,) for column in episode.values()
    ):
        return None
    return episode
