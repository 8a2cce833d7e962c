"""FQL's compiled updates in a process of their own: ``python -m benchmarks.update_time 64x2 10``.

Prints JSON: the CPU seconds of an update in each of so many turns.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import torch

from benchmarks.clock import Turns
from benchmarks.problem import SIZES, agent_of, random_batch


def main(size: str, turns: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    agent = agent_of("fql", SIZES[size]).compile()
    measured = Turns({size: partial(agent.update, random_batch())}, turn_seconds=0.3)
    for _ in range(turns):
        measured.take()
    print(json.dumps(measured.values[size]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
