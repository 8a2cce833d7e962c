"""Several runs, each in a process of its own, a few at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from flowpolicy.errors import FlowPolicyError, require_at_least
from flowpolicy.parent import when_parent_ends
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.loop import train
from flowpolicy.train.stop import Stopped, StopRequest

Trainer = Callable[..., object]
"""Called as :func:`~flowpolicy.train.train` is; it travels to another process."""


def train_all(
    runs: Mapping[Path, TrainConfig],
    *,
    trainer: Trainer = train,
    jobs: int = 2,
    progress: bool = True,
    announce: Callable[[str], None] | None = None,
    ended: Callable[[Path, str | None], None] | None = None,
) -> dict[Path, str]:
    """Trains every run into the folder that it stands for, ``jobs`` at a time, in their order.

    Every process uses one thread (unless ``threads`` of the run says otherwise), so the results do
    not depend on ``jobs``. A run that fails does not keep the others from being finished.
    Where this process is killed, its runs save their state and end.

    Args:
        runs: The folders to make, and the run of each.
        trainer: What each process does.
        jobs: How many processes run at a time.
        progress: Show a progress bar for each.
        announce: Called with one line about the data, once for all runs that would say the same.
        ended: Called after each run with its folder and why it failed; ``None`` if it did not.

    Returns:
        Why runs failed, by their folders.

    Raises:
        ConfigError: ``jobs`` is below 1.
        Stopped: SIGINT or SIGTERM came; what was running is saved.
    """
    require_at_least("train_all", "jobs", jobs, 1)
    waiting = list(runs)
    free_lines = list(range(jobs))
    running: dict[Any, _Job] = {}
    failures: dict[Path, str] = {}
    told: set[tuple[str, str]] = set()
    with StopRequest() as stop:
        try:
            while waiting or running:
                while waiting and free_lines and not stop.requested:
                    out = waiting.pop(0)
                    line = free_lines.pop(0)
                    job = _start(trainer, runs[out], out, line, progress=progress)
                    running[job.process.sentinel] = job
                sentinels = wait(list(running), timeout=0.2)
                _pass_on(running.values(), told, announce)
                for sentinel in sentinels:
                    job = running.pop(sentinel)
                    free_lines.append(job.line)
                    if (failure := job.failure()) is not None:
                        failures[job.out] = failure
                    if ended is not None and not stop.requested:
                        ended(job.out, failure)
                if stop.number is not None:
                    _stop(running)
                    saved = any(RunFolder(out).checkpoints.steps() for out in runs)
                    raise Stopped(stop.number, saved=saved)
        finally:
            _stop(running)
    if progress:
        sys.stderr.write("\n" * (min(jobs, len(runs)) - 1))  # below the last bar
    return failures


@dataclass
class _Job:
    out: Path
    line: int
    process: Any
    connection: Connection[Any, Any]
    error: str | None = None

    def news(self) -> list[tuple[str, str]]:
        """What the process has said since the last time; an error is kept for the end."""
        said: list[tuple[str, str]] = []
        with contextlib.suppress(EOFError, OSError):  # it is dead
            while self.connection.poll():
                kind, text = self.connection.recv()
                if kind == "error":
                    self.error = text
                else:
                    said.append((kind, text))
        return said

    def failure(self) -> str | None:
        """Why the process failed; ``None`` if it did not."""
        self.process.join()
        if self.process.exitcode == 0:
            return None
        self.news()
        if self.error is not None:
            return self.error
        code = self.process.exitcode
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"


def _pass_on(
    jobs: Iterable[_Job], told: set[tuple[str, str]], announce: Callable[[str], None] | None
) -> None:
    """Says what the processes have said, each thing once."""
    for kind, text in [said for job in jobs for said in job.news()]:
        if (kind, text) in told:
            continue
        told.add((kind, text))
        if kind == "warning":
            warnings.warn(text, stacklevel=3)
        elif announce is not None:
            announce(text)


def _start(trainer: Trainer, config: TrainConfig, out: Path, line: int, *, progress: bool) -> _Job:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    single = config.replace(threads=config.threads or 1)
    arguments = (trainer, single.to_dict(), out, line if progress else None, there)
    process = context.Process(target=_train_one, args=arguments)
    process.start()
    there.close()
    return _Job(out, line, process, here)


def _stop(running: dict[Any, _Job]) -> None:
    """Asks every process to save and end, and waits until it has."""
    for job in running.values():
        job.process.terminate()
    for job in running.values():
        job.process.join()
    running.clear()


def _train_one(
    trainer: Trainer,
    config: dict[str, Any],
    out: Path,
    line: int | None,
    parent: Connection[Any, Any],
) -> None:
    # A terminal sends Ctrl-C to every process; the parent passes it on once, as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    when_parent_ends(partial(os.kill, os.getpid(), signal.SIGTERM))  # which saves and ends
    # The parent says once what every run would say. Warnings of other packages are not passed on.
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="flowpolicy")
    warnings.showwarning = lambda message, *_, **__: parent.send(("warning", str(message)))
    try:
        trainer(
            TrainConfig.from_dict(config),
            out,
            progress=line is not None,
            position=line or 0,
            announce=lambda text: parent.send(("data", text)),
        )
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except FlowPolicyError as error:
        parent.send(("error", str(error)))
        sys.exit(1)
    except Exception as error:
        parent.send(("error", f"{type(error).__name__}: {error}"))
        raise
