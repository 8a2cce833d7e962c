"""The same run with several seeds, each in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from flowpolicy.checkpoint.device import require_device
from flowpolicy.errors import ConfigError, FlowPolicyError
from flowpolicy.plot import learning_curve
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.loop import train
from flowpolicy.train.stop import Stopped, StopRequest
from flowpolicy.train.versions import versions


class SeedError(FlowPolicyError, RuntimeError):
    """The run of one of several seeds failed."""


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
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds must be different numbers, at least one, got {list(seeds)}")
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, got {jobs}")
    require_device(config.device)
    folder = RunFolder.create(out, {**config.to_dict(), "seeds": list(seeds)})
    folder.write_json("versions.json", versions())
    waiting = list(seeds)
    free_lines = list(range(jobs))
    running: dict[Any, _Job] = {}
    failures: dict[int, str] = {}
    told: set[tuple[str, str]] = set()
    with StopRequest() as stop:
        try:
            while waiting or running:
                while waiting and free_lines and not stop.requested:
                    job = _start(
                        config, waiting.pop(0), folder, free_lines.pop(0), progress=progress
                    )
                    running[job.process.sentinel] = job
                ended = wait(list(running), timeout=0.2)
                _pass_on(running.values(), told, announce)
                for sentinel in ended:
                    job = running.pop(sentinel)
                    free_lines.append(job.line)
                    if (failure := job.failure()) is not None:
                        failures[job.seed] = failure
                if stop.number is not None:
                    waiting.clear()
                    _stop(running)
                    raise Stopped(stop.number, saved=_any_saved(folder))
        finally:
            for job in running.values():
                job.process.kill()
    if progress:
        sys.stderr.write("\n" * (min(jobs, len(seeds)) - 1))  # below the last bar
    if any(seed.read_evaluations() for seed in folder.seeds()):
        learning_curve([folder], folder.curve)
    if failures:
        seed, message = next(iter(failures.items()))
        raise SeedError(f"{len(failures)} of {len(seeds)} seeds failed; seed {seed}: {message}")
    return folder


@dataclass
class _Job:
    seed: int
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
        return f"its process ended with exit code {self.process.exitcode}"


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


def _any_saved(folder: RunFolder) -> bool:
    return any(seed.checkpoints.steps() for seed in folder.seeds())


def _start(config: TrainConfig, seed: int, folder: RunFolder, line: int, *, progress: bool) -> _Job:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    single = config.replace(seed=seed, threads=config.threads or 1)
    arguments = (single.to_dict(), folder.path / f"seed_{seed}", line if progress else None, there)
    process = context.Process(target=_train_one, args=arguments)
    process.start()
    there.close()
    return _Job(seed, line, process, here)


def _stop(running: dict[Any, _Job]) -> None:
    """Asks every process to save and end, and waits until it has."""
    for job in running.values():
        job.process.terminate()
    for job in running.values():
        job.process.join()
    running.clear()


def _train_one(
    config: dict[str, Any], out: Path, line: int | None, parent: Connection[Any, Any]
) -> None:
    # A terminal sends Ctrl-C to every process; the parent passes it on once, as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent says once what every seed would say. Warnings of other packages are not passed on.
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="flowpolicy")
    warnings.showwarning = lambda message, *_, **__: parent.send(("warning", str(message)))
    try:
        train(
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
