"""What a training process is at, told to its parent through shared memory."""

from __future__ import annotations

import functools
import mmap
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from flowpolicy.agents import Agent
from flowpolicy.checkpoint import store
from flowpolicy.train import run
from flowpolicy.train.records import CsvFile
from tests.reliability.kill_timer import kill_me_after

PHASES = (
    "loading",
    "resuming",
    "training",
    "saving",
    "rotating",
    "logging",
    "evaluating",
    "ending",
)
LOADING, TRAINING = PHASES.index("loading"), PHASES.index("training")

MARKED: tuple[tuple[Any, str, str], ...] = (
    (run.Run, "restore", "resuming"),
    (Agent, "update", "training"),
    (store, "write_directory", "saving"),
    (store.Checkpoints, "_link", "rotating"),
    (store.Checkpoints, "_drop", "rotating"),
    (CsvFile, "append", "logging"),
    (run.Run, "evaluate", "evaluating"),
    (run.Run, "end", "ending"),
)
"""Where a phase begins and ends. What lies between is loading, and after ``begin`` training."""


class Moment(NamedTuple):
    """When a process dies: so many seconds after it entered a phase for so many times."""

    phase: str
    entry: int
    delay: float


class Phases:
    """Where a child is, and how often and how long it was where."""

    def __init__(self) -> None:
        self._shared = np.frombuffer(mmap.mmap(-1, 8 * (1 + 2 * len(PHASES))), dtype=np.float64)
        self._entries, self._seconds = self._shared[1:].reshape(2, len(PHASES))

    @property
    def now(self) -> str:
        """The phase in which the child is or was last."""
        return PHASES[int(self._shared[0])]

    def entries(self, phase: str) -> int:
        """How often the child has entered a phase."""
        return int(self._entries[PHASES.index(phase)])

    def duration(self, phase: str) -> float:
        """How long the phase takes on average, in seconds."""
        index = PHASES.index(phase)
        return float(self._seconds[index] / max(self._entries[index], 1))

    def reset(self) -> None:
        """Before a child begins."""
        self._shared[:] = 0

    def watch(self, death: Moment | None) -> None:
        """In the child: marks the phases from now on, and lets it die at a moment."""
        self._death, began = death, time.perf_counter()
        self._enter(LOADING)
        for owner, name, phase in MARKED:
            setattr(owner, name, self._marked(getattr(owner, name), PHASES.index(phase)))
        begin = run.Run.begin

        def begin_training(each: run.Run) -> None:
            begin(each)
            self._seconds[LOADING] = time.perf_counter() - began
            self._shared[0] = TRAINING

        run.Run.begin = begin_training

    def _enter(self, phase: int) -> None:
        self._shared[0] = phase
        self._entries[phase] += 1
        death = self._death
        if death and death[:2] == (PHASES[phase], self._entries[phase]):
            kill_me_after(death.delay)

    def _marked(self, function: Callable[..., Any], phase: int) -> Callable[..., Any]:
        @functools.wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            before, began = self._shared[0], time.perf_counter()
            self._enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds[phase] += time.perf_counter() - began
                self._shared[0] = before

        return marked
