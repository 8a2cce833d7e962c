"""The folder of a run for one process: made, or taken over from one that ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from flowpolicy.checkpoint import DamagedCheckpointError
from flowpolicy.durable import STAGING_PREFIX, collect_leftovers
from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.lock import LOCK, WriterLock
from flowpolicy.train.resume import require_same_run

Resume: TypeAlias = bool | Literal["auto"]
"""Whether to go on with a run; ``"auto"`` does where there is one, and begins it otherwise."""


def claim(
    out: str | os.PathLike[str],
    values: Mapping[str, Any],
    resume: Resume,
    require_same: Callable[[RunFolder], None],
) -> tuple[RunFolder, WriterLock]:
    """Makes the folder of a run, or takes the one that is there; nobody else writes in it then.

    Args:
        out: The folder.
        values: Its ``config.json``.
        resume: Whether it must not, must or may be there.
        require_same: Refuses a folder that is that of another run.

    Raises:
        ConfigError: It is there and must not be, or the reverse; it is something else; another
            process writes in it.
    """
    path = Path(out)
    if resume is False or (resume == "auto" and not path.exists()):
        folder = RunFolder.create(path, values)
        return folder, WriterLock(path)
    folder = RunFolder(path) if resume == "auto" else RunFolder.open(path)
    refuse_what_is_no_run(path)
    lock = WriterLock(path)
    try:
        if not (path / "config.json").is_file():  # killed when it had just made the folder
            folder.write_json("config.json", values)
        require_same(folder)
        for place in (path, folder.checkpoints.root):
            collect_leftovers(place)
    except BaseException:
        lock.release()
        raise
    return folder, lock


def finished_already(out: str | os.PathLike[str], config: TrainConfig) -> bool:
    """Whether a folder holds all of a run.

    Raises:
        ConfigError: It is the folder of another run.
    """
    folder = RunFolder(Path(out))
    if not (folder.path / "config.json").is_file():
        return False
    require_same_run(folder, config)
    return is_finished(folder, config)


def is_finished(folder: RunFolder, config: TrainConfig) -> bool:
    """Whether the last update was evaluated and saved, and the curve drawn."""
    rows = [
        row
        for row in folder.read_evaluations()
        if int(row["env_steps"]) == config.online_steps
        and (config.online_steps or int(row["step"]) == config.offline_steps)
    ]
    if len(rows) < len(config.eval_actors) or not folder.curve.is_file():
        return False
    step = int(rows[-1]["step"])
    if step not in folder.checkpoints.steps():
        return False
    try:
        folder.checkpoints.read(step)
    except DamagedCheckpointError:  # the one before it is gone on from
        return False
    return True


def refuse_what_is_no_run(path: Path) -> None:
    """Refuses a folder that holds more than a process leaves that was killed as it began.

    Raises:
        ConfigError: It is no folder, or holds something but no ``config.json``.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is in the way and no folder; choose another with --out")
    if (path / "config.json").is_file():
        return
    ours = (LOCK, STAGING_PREFIX)
    if foreign := sorted(p.name for p in path.iterdir() if not p.name.startswith(ours)):
        raise ConfigError(
            f"{path} is not the folder of a run: it holds {foreign[0]} but no config.json; choose "
            "another with --out"
        )
