"""One run of many: held by one process at a time, taken up where it was left, finished once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flowpolicy.errors import ConfigError, FlowPolicyError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig, train
from flowpolicy.train.claim import refuse_what_is_no_run
from flowpolicy.train.lock import take

FINISHED = "finished.json"
FAILED = "failed.json"


class HeldError(FlowPolicyError, RuntimeError):
    """Another process works on the same thing."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the file ``path``; a process that ends lets go of it, however it ends.

    Args:
        path: Made where it is not there; stays.

    Raises:
        HeldError: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not take(file):
            raise HeldError(
                f"{path} is held by another process, which works on the same; wait for it"
            )
        yield


def lock_of(cell: Path) -> Path:
    """The file that is held while a cell runs: beside its folder, which comes and goes."""
    return cell.with_name(f".{cell.name}.lock")


def is_held(cell: Path) -> bool:
    """Whether another process runs a cell."""
    try:
        with held(lock_of(cell)):
            return False
    except HeldError:
        return True


def run_cell(
    config: TrainConfig,
    out: Path,
    *,
    progress: bool = True,
    position: int = 0,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Trains one cell and marks it as finished; leaves it alone if it is.

    It goes on from its newest intact checkpoint, and begins anew where there is none.

    Args:
        config: The run.
        out: Its folder.
        progress: As of :func:`~flowpolicy.train.train`.
        position: As there.
        announce: As there.

    Raises:
        HeldError: Another process runs it.
        ConfigError: What is there was made with other settings.
    """
    with held(lock_of(out)):
        require_cell(out, config)
        if (out / FINISHED).is_file():
            (out / FAILED).unlink(missing_ok=True)
            return
        resume = can_go_on(out)
        if out.exists() and not resume:
            old = out.with_name(f".{out.name}.old")  # a kill in between leaves no half of it
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
            shutil.rmtree(old)
        train(config, out, resume=resume, progress=progress, position=position, announce=announce)
        (out / FAILED).unlink(missing_ok=True)
        RunFolder(out).write_json(FINISHED, {})


def can_go_on(cell: Path) -> bool:
    """Whether there is something that a run would lose if it began anew."""
    return (cell / "config.json").is_file() and bool(RunFolder(cell).checkpoints.steps())


def state_of(cell: Path) -> str:
    """In a word: finished, running, failed, stopped or new."""
    if (cell / FINISHED).is_file():
        return "finished"
    if cell.parent.is_dir() and is_held(cell):
        return "running"
    if (cell / FAILED).is_file():
        return "failed"
    return "stopped" if cell.exists() else "new"


def require_cell(cell: Path, config: TrainConfig) -> None:
    """Refuses a folder that a run would lose something of, or mix with something else.

    Raises:
        ConfigError: It is no run, or one with other settings that is finished or can go on.
    """
    if (cell / FINISHED).is_file() or can_go_on(cell):
        had = TrainConfig.from_dict(RunFolder(cell).config())
        if changed := had.difference(config):
            name, before, now = changed
            raise ConfigError(
                f"{cell} was run with {name} {before!r}, now it is {now!r}; choose another folder "
                "with --out, or remove this one"
            )
    elif cell.exists() and not (cell / FAILED).is_file():
        refuse_what_is_no_run(cell)
