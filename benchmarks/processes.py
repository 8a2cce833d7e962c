"""What two processes spare each other: ``torchrun --nproc-per-node 2 -m benchmarks.processes``."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

import flowpolicy as fp
from flowpolicy import data, ranks

SIZES = ((256,) * 3, (512,) * 4)
BATCH, ROUNDS, UPDATES = 256, 5, 5


def agent(hidden: tuple[int, ...]) -> fp.Agent:
    torch.manual_seed(0)
    return fp.agents.fql(DATASET.obs_dim, DATASET.act_dim, hidden=hidden)


def timed(learner: fp.Agent) -> list[tuple[float, float]]:
    """Milliseconds of single updates: of the processor, of this process, and on the wall."""
    times = []
    for rows in BATCHES[:UPDATES]:
        wall, processor = time.perf_counter(), time.process_time()
        learner.update(rows)
        times.append((time.process_time() - processor, time.perf_counter() - wall))
    return [(1e3 * processor, 1e3 * wall) for processor, wall in times]


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    DATASET = data.embedded()
    generator = torch.Generator().manual_seed(0)
    BATCHES = [DATASET.sample(BATCH, generator) for _ in range(UPDATES)]
    for hidden in SIZES:
        alone, shared = agent(hidden), agent(hidden).distribute()
        alone.update(BATCHES[0])
        for rows in BATCHES[:2]:
            shared.update(rows)
        of_alone, of_shared = [], []
        for _ in range(ROUNDS):
            if ranks.leads():
                of_alone += timed(alone)
            ranks.wait()
            of_shared += timed(shared)
            ranks.wait()
        if ranks.leads():
            for name, times in (("1 process", of_alone), (f"{ranks.count()} processes", of_shared)):
                processor, wall = (min(column) for column in zip(*times, strict=True))
                print(f"{hidden} {name}: processor {processor:.1f} ms, wall {wall:.1f} ms")
    dist.destroy_process_group()
