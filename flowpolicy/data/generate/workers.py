"""Recording many episodes: here, or in several processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from flowpolicy.data.generate.episodes import (
    Expert,
    make_expert,
    record_episode,
    save_shard,
    shard_path,
)
from flowpolicy.data.generate.settings import Settings
from flowpolicy.errors import DataError
from flowpolicy.parent import when_parent_ends

Task = tuple[str, int]
"""A split and the number of an episode in it."""

_worker: tuple[Expert, Settings, Path] | None = None  # one environment per process, built once


def record_all(
    tasks: Sequence[Task], settings: Settings, folder: Path, jobs: int
) -> Iterator[Task]:
    """Record every task into its shard; yields each once its file is there.

    Raises:
        DataError: a process died.
    """
    if not tasks:
        return
    if jobs == 1 or len(tasks) == 1:
        expert = make_expert(settings)
        for task in tasks:
            _record(expert, settings, folder, task)
            yield task
        return
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            min(jobs, len(tasks)),
            mp_context=get_context("spawn"),  # simulators and fork do not go together
            initializer=_start,
            initargs=(settings, folder),
        )
        try:
            for future in as_completed([pool.submit(_run, task) for task in tasks]):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                f"generate: a process ended while recording {settings.dataset!r}, perhaps for lack "
                f"of memory. The finished episodes are kept in {folder}: run the same command "
                "again, with fewer jobs, to go on from there."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _record(expert: Expert, settings: Settings, folder: Path, task: Task) -> None:
    save_shard(shard_path(folder, *task), record_episode(expert, settings, *task))


def _start(settings: Settings, folder: Path) -> None:
    """Set up one process; an interrupt ends the parent, which then ends this one."""
    global _worker  # noqa: PLW0603 (what a pool's initializer prepares has no other place)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    when_parent_ends(partial(os._exit, 1))  # the pool would wait for it for ever
    _worker = (make_expert(settings), settings, folder)


def _run(task: Task) -> Task:
    assert _worker is not None  # noqa: S101 (the pool ran _start first)
    _record(*_worker, task)
    return task


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Started processes read these variables when they import their numeric libraries."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
