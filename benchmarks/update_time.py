"""FQL's updates in a process of their own: ``python -m benchmarks.update_time 64x2 10 kept``.

Prints JSON: the CPU seconds of a compiled update in each of so many turns; freed memory is kept for
the next update, or ``given-back``.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import torch

import flowpolicy as fp
from benchmarks.clock import Turns
from benchmarks.problem import SIZES, agent_of, random_batch


def main(size: str, turns: int, freed: str) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    if freed == "kept":
        fp.keep_freed_memory()
    agent = agent_of("fql", SIZES[size]).compile()
    measured = Turns({size: partial(agent.update, random_batch())}, turn_seconds=0.3)
    for _ in range(turns):
        measured.take()
    print(json.dumps(measured.values[size]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
