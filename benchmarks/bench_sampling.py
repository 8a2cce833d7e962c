"""What a batch costs, beside plain indexing and beside a TorchRL replay buffer.

``OMP_NUM_THREADS=1 python -m benchmarks.bench_sampling``; README.md has the protocol.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from functools import partial
from pathlib import Path

import tensordict
import torch
import torchrl
from tensordict import TensorDict

from benchmarks.clock import fastest
from flowpolicy.data import Dataset


def random_dataset(rows: int, obs_dim: int, act_dim: int) -> Dataset:
    """Transitions of the given sizes, in trajectories of 1000 steps."""
    return Dataset(
        {
            "observation": torch.randn(rows, obs_dim),
            "action": torch.rand(rows, act_dim) * 2 - 1,
            ("next", "observation"): torch.randn(rows, obs_dim),
            ("next", "reward"): torch.randn(rows, 1),
            ("next", "terminated"): torch.rand(rows, 1) < 0.001,
            "episode": torch.arange(rows) // 1000,
        }
    )


def indexed(data: TensorDict, batch_size: int) -> TensorDict:
    """The same batch by plain indexing of every tensor."""
    return data[torch.randint(len(data), (batch_size,))]


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_sampling", description=__doc__
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--obs-dim", type=int, default=28)
    parser.add_argument("--act-dim", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=15)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset = random_dataset(args.rows, args.obs_dim, args.act_dim)
    separate = dataset.as_tensordict().clone()  # one tensor per entry, as a TensorDict usually is
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset.safetensors"
        dataset.save(path)
        seconds = fastest(
            {
                "Dataset.sample": partial(dataset.sample, args.batch),
                "Dataset.sample, mapped file": partial(Dataset.open(path).sample, args.batch),
                "TensorDict[index]": partial(indexed, separate, args.batch),
                "TorchRL ReplayBuffer.sample": dataset.to_replay_buffer(args.batch).sample,
            },
            warm_up=2000,
            chunks=args.chunks,
        )
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, tensordict "
        f"{tensordict.__version__}, torchrl {torchrl.__version__}, {torch.get_num_threads()} thread"
    )
    print(
        f"batch {args.batch} of {args.rows:,} rows, observation {args.obs_dim}, action "
        f"{args.act_dim}; least of {args.chunks} chunks, CPU time\n"
    )
    own = seconds["Dataset.sample"]
    for name, value in seconds.items():
        print(f"{name:<30}{value * 1e6:>8.1f} us{value / own:>8.2f}x")


if __name__ == "__main__":
    main()
