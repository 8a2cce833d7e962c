"""A run that trains, logs, evaluates, saves and rotates within a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flowpolicy.data.locate import EMBEDDED
from flowpolicy.train import TrainConfig

MAZE = "pointmaze-medium-navigate-singletask-v0"
FILE = "pointmaze-medium-navigate-v0.npz"
ROWS = 2002  # two episodes


def small_data(folder: Path, *, rows: int = ROWS, compressed: bool = True) -> Path:
    """Writes the first rows of the embedded maze into ``folder``, as a data set of their own."""
    with np.load(EMBEDDED / FILE) as whole:
        arrays = {key: whole[key][:rows] for key in whole.files}
    arrays["terminals"][-1] = True
    (np.savez_compressed if compressed else np.savez)(folder / FILE, **arrays)
    return folder


def tiny_run(data: Path) -> TrainConfig:
    """A checkpoint every few updates, so that saving takes a good part of the time."""
    return TrainConfig(
        agent="fql",
        env=MAZE,
        options={"hidden": (8,), "flow_steps": 2},
        offline_steps=40,
        batch_size=16,
        eval_every=20,
        eval_episodes=2,
        max_episode_steps=10,
        log_every=2,
        checkpoint_every=4,
        keep_checkpoints=2,
        data_root=str(data),
        tensorboard=False,
        compile="off",
        threads=1,
    )
