"""What one update of each recipe costs, beside the matrix products that it cannot avoid.

``make bench``, or ``python -m benchmarks --hidden 256 256 --recipes fql gfp``; README.md has the
protocol.
"""

from __future__ import annotations

import argparse
import platform
import re
from functools import partial
from pathlib import Path

import tensordict
import torch
from tensordict import TensorDict
from torch.utils.flop_counter import FlopCounterMode

import flowpolicy as fp
from benchmarks.clock import fastest
from flowpolicy.__about__ import __version__


def random_batch(size: int, obs_dim: int, act_dim: int) -> TensorDict:
    """A batch in the layout of the conventions, without any end."""
    never = torch.zeros(size, 1, dtype=torch.bool)
    return TensorDict(
        {
            "observation": torch.randn(size, obs_dim),
            "action": torch.rand(size, act_dim) * 2 - 1,
            "next": {
                "observation": torch.randn(size, obs_dim),
                "reward": torch.randn(size, 1),
                "terminated": never,
                "truncated": never,
                "done": never,
            },
        },
        batch_size=[size],
    )


def update_flops(agent: fp.Agent, batch: TensorDict) -> int:
    """Floating-point operations of an update's matrix products, counted."""
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
    return int(counter.get_total_flops())


def machine() -> str:
    """The processor, by the name that the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    return name.group(1) if name else platform.processor() or platform.machine()


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(fp.agents.RECIPES))
    parser.add_argument("--hidden", nargs="+", type=int, default=[512] * 4)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--obs-dim", type=int, default=29)
    parser.add_argument("--act-dim", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=15)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = random_batch(args.batch, args.obs_dim, args.act_dim)
    agents = {
        name: fp.agents.RECIPES[name](args.obs_dim, args.act_dim, hidden=tuple(args.hidden))
        for name in args.recipes
    }
    flops = {name: update_flops(agent, batch) for name, agent in agents.items()}

    # The bound: a product of the shape that dominates the updates, in the same turns.
    width = max(args.hidden)
    left, right = torch.randn(args.batch, width), torch.randn(width, width)
    variants = {name: partial(agent.update, batch) for name, agent in agents.items()}
    seconds = fastest({"product": partial(torch.mm, left, right), **variants}, chunks=args.chunks)
    rate = 2 * args.batch * width * width / seconds["product"]

    print(f"{machine()}, {torch.get_num_threads()} thread")
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"tensordict {tensordict.__version__}, flowpolicy {__version__}"
    )
    print(f"hidden {args.hidden}, batch {args.batch}, least of {args.chunks} chunks, CPU time")
    print(f"matrix products at {rate / 1e9:.1f} GFLOP/s\n")
    print(f"{'recipe':<12}{'update':>12}{'products':>12}{'share':>8}")
    for name in variants:
        bound = flops[name] / rate
        share = bound / seconds[name]
        print(f"{name:<12}{seconds[name] * 1e3:>9.2f} ms{bound * 1e3:>9.2f} ms{share:>8.0%}")


if __name__ == "__main__":
    main()
