"""Runs of two processes together; each gives numbers and texts to look at."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from flowpolicy import ranks
from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import Stopped, train
from tests.run.conftest import TINY


def copy_of_the_first_half(run: Path, copy: Path) -> Path:
    """A run as it was before its last checkpoint."""
    shutil.copytree(run, copy, symlinks=True)
    folder = RunFolder(copy).checkpoints
    shutil.rmtree(folder.path(20))
    (folder.root / "last").unlink()
    return copy


def whole(folder: Path) -> list[str]:
    """What the run said."""
    said: list[str] = []
    train(TINY, folder / "together", progress=False, announce=said.append)
    return said


def resumed(folder: Path) -> list[str]:
    """One process began."""
    said: list[str] = []
    with pytest.warns(UserWarning, match=r"another number of processes \(1, now 2\)"):
        train(TINY, folder / "resumed", resume=True, progress=False, announce=said.append)
    return said


def stopped(folder: Path) -> dict[str, Any]:
    """A signal that comes to one process ends both, here at the first evaluation."""

    def heard(line: str) -> None:
        if line.startswith("processes") and ranks.own() == 1:
            signal.raise_signal(signal.SIGTERM)

    try:
        train(TINY, folder / "stopped", progress=False, announce=heard)
    except Stopped as stopped:
        return {"signal": stopped.signal, "saved": stopped.saved}
    return {}


def refused(folder: Path) -> list[str]:
    """What cannot be, before anything is written."""
    texts = []
    for config, out in (
        (TINY.replace(batch_size=15), "odd"),
        (TINY.replace(online_steps=5), "online"),
        (TINY, "alone"),
    ):
        try:
            train(config, folder / out, progress=False)
        except ConfigError as error:
            texts.append(str(error))
    return texts


RUNS = {run.__name__: run for run in (whole, resumed, stopped, refused)}
