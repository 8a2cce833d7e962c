"""Peak memory of an agent's updates: ``python -m benchmarks.memory fql 512x4 eager``.

Prints JSON: the peak beyond what the process held once the libraries were loaded and had updated a
tiny agent, and the parts that it is made of.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

import flowpolicy as fp
from benchmarks.problem import BATCH, SIZES, agent_of, random_batch, random_dataset

ROWS = 100_000
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Bytes of ``VmRSS``, now, or ``VmHWM``, at most since the mark was put down."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def give_back() -> None:
    """Returns to the system what is free: what came before is no part of training."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def built(recipe: str, hidden: tuple[int, ...], form: str) -> fp.Agent:
    """An agent, compiled where asked."""
    agent = agent_of(recipe, hidden)
    return agent.compile() if form == "compiled" else agent


def size(tensors) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def activations(agent: fp.Agent) -> int:
    """Bytes that the greediest of the losses keeps for its backward pass."""
    batch = random_batch()
    own = {
        p.untyped_storage().data_ptr() for p in agent.state_dict().values() if torch.is_tensor(p)
    }
    most = 0
    for loss in agent.loss.losses:
        kept: dict[int, int] = {}

        def keep(tensor, kept=kept):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        filled = agent.with_noise(batch, (loss.name,))
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            result = loss(filled)
        most = max(most, sum(kept.values()))
        del result
    return most


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("recipe", choices=list(fp.agents.RECIPES))
    parser.add_argument("size", choices=list(SIZES))
    parser.add_argument("form", choices=["eager", "compiled"])
    args = parser.parse_args()
    torch.set_num_threads(1)

    tiny, batch = built(args.recipe, (8,) * len(SIZES[args.size]), args.form), random_batch()
    for _ in range(3):
        tiny.update(batch)
    del tiny
    give_back()
    before = resident("VmRSS")

    dataset = random_dataset(ROWS)
    agent = built(args.recipe, SIZES[args.size], args.form)
    agent.update(dataset.sample(BATCH))
    give_back()
    CLEAR.write_text("5")  # the peak starts here: reading data and compiling are other matters
    for _ in range(10):
        agent.update(dataset.sample(BATCH))
    peak = resident("VmHWM") - before

    trained = [p for _, p in agent.trained_parameters()]
    state = [each for entry in agent.optimizer.state.values() for each in entry.values()]
    parts = {
        "parameters": size(agent.parameters()) + size(agent.buffers()),
        "gradients": size(trained),
        "optimizer": size(each for each in state if torch.is_tensor(each)),
        "activations": activations(agent_of(args.recipe, SIZES[args.size])),
        "data set": size(dataset.blocks.values()),
    }
    print(json.dumps({"peak": peak, "parts": parts}))


if __name__ == "__main__":
    main()
