"""Processes that stay, each running its share of the episodes with a copy of the policy."""

from __future__ import annotations

import atexit
import contextlib
import copy
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import nn

from flowpolicy.errors import FlowPolicyError
from flowpolicy.evaluate.environments import EnvSource, close_environments, environments
from flowpolicy.evaluate.lockstep import Episode, run_episodes


class EvaluationError(FlowPolicyError, RuntimeError):
    """A process that runs episodes failed."""


class WorkerPool:
    """A number of processes for one environment.

    Processes are spawned, so that they share no locks or threads with this one; a script that uses
    them needs ``if __name__ == "__main__":`` around its main part.

    Args:
        source: The environment; a function must be importable by the other process.
        count: Number of processes.
    """

    def __init__(self, source: EnvSource, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection[Any, Any]] = []
        self._processes = []
        self._waiting = False
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, source), daemon=True)
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)

    def run(
        self,
        policy: nn.Module,
        indices: Sequence[int],
        *,
        parallel: int,
        seed: int,
        max_steps: int | None,
    ) -> list[Episode]:
        """Runs the episodes ``indices``, dealt out in turn.

        Raises:
            EvaluationError: A process failed or died; with its traceback where there is one.
        """
        self._waiting = True
        shared = copy.deepcopy(policy).cpu()
        count = len(self._connections)
        busy = []
        for number, connection in enumerate(self._connections):
            if share := list(indices[number::count]):
                slots = max(1, min(parallel // count, len(share)))
                with contextlib.suppress(OSError):  # a dead process is noticed when it answers
                    connection.send((shared, share, slots, seed, max_steps))
                busy.append((number, connection))
        episodes: dict[int, Episode] = {}
        failure: EvaluationError | None = None
        for number, connection in busy:
            try:
                result = connection.recv()
            except (EOFError, OSError):
                self._processes[number].join(timeout=5)
                failure = EvaluationError(
                    f"evaluation process {number} died with exit code "
                    f"{self._processes[number].exitcode}; from a script, put the call under "
                    'if __name__ == "__main__":'
                )
                continue
            if isinstance(result, str):
                failure = EvaluationError(f"evaluation process {number} failed:\n{result}")
                continue
            episodes.update({episode.index: episode for episode in result})
        self._waiting = False
        if failure is not None:
            raise failure
        return [episodes[index] for index in indices]

    @property
    def usable(self) -> bool:
        """Whether all processes live and no answer of an interrupted call is still to come."""
        return not self._waiting and all(process.is_alive() for process in self._processes)

    def close(self) -> None:
        """Ends the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()


_pools: dict[tuple[EnvSource, int], WorkerPool] = {}


def worker_pool(source: EnvSource, count: int) -> WorkerPool:
    """The processes of an earlier call with the same arguments, or new ones."""
    pool = _pools.get((source, count))
    if pool is not None and not pool.usable:
        _pools.pop((source, count)).close()
        pool = None
    if pool is None:
        pool = _pools[source, count] = WorkerPool(source, count)
    return pool


@contextlib.contextmanager
def processes(source: EnvSource, count: int) -> Iterator[WorkerPool]:
    """Processes for a while: kept where the next call can mean the same environment, else ended."""
    if isinstance(source, str) or _of_a_module(source):
        yield worker_pool(source, count)
        return
    pool = WorkerPool(source, count)
    try:
        yield pool
    finally:
        pool.close()


def _of_a_module(function: object) -> bool:
    """Whether a function or class is found under its own name, and so is the same at each call."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(module, getattr(function, "__qualname__", ""), None) is function


@atexit.register
def close_workers() -> None:
    """Ends all processes."""
    while _pools:
        _pools.popitem()[1].close()


def _serve(connection: Connection[Any, Any], source: EnvSource) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent
    torch.set_num_threads(1)
    while True:
        try:
            policy, indices, slots, seed, max_steps = connection.recv()
        except EOFError:
            break
        try:
            envs = environments(source, slots)
            result: Any = run_episodes(policy, envs, indices, seed=seed, max_steps=max_steps)
        except Exception:  # noqa: BLE001  (whatever it was, the parent must hear of it)
            result = traceback.format_exc()
        connection.send(result)
    close_environments()
