"""FQL's updates in a process of their own: ``python -m benchmarks.update_time 64x2 10 kept``.

Prints JSON: the CPU seconds of an update in each of so many turns. The programs: compiled, with
freed memory ``kept`` for the next update or ``given-back``; and ``jax``, the yardstick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial

import torch

import flowpolicy as fp
from benchmarks.bench_update import jax_update
from benchmarks.clock import Turns
from benchmarks.conftest import cores
from benchmarks.problem import SIZES, agent_of, random_batch


def compiled(size: str) -> Callable[[], object]:
    """One update, by the library."""
    return partial(agent_of("fql", SIZES[size]).compile().update, random_batch())


def kept(size: str) -> Callable[[], object]:
    """The same, with freed memory kept."""
    fp.keep_freed_memory()
    return compiled(size)


def jax(size: str) -> Callable[[], object]:
    """One update, by the yardstick."""
    with cores(1):
        return jax_update(random_batch(), SIZES[size])


PROGRAMS = {"kept": kept, "given-back": compiled, "jax": jax}


def main(size: str, turns: int, program: str) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    measured = Turns({program: PROGRAMS[program](size)}, turn_seconds=0.3)
    for _ in range(turns):
        measured.take()
    print(json.dumps(measured.values[program]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
