"""One of two processes: ``python -m tests.distributed.pair <folder> <rank>``."""

from __future__ import annotations

import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from flowpolicy.errors import FlowPolicyError
from tests.distributed.cases import CASES
from tests.distributed.refusals import REFUSALS
from tests.distributed.runs import RUNS


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",  # ports are the system's choice
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Creating .* which inherits from WeightUpdaterBase")
    results = {name: case() for name, case in CASES.items()}
    refused = {}
    for name, (act, _) in REFUSALS.items():
        try:
            act()
        except FlowPolicyError as error:
            refused[name] = f"{type(error).__name__}: {error}"
    runs = {name: run(folder) for name, run in RUNS.items()}
    torch.save({"results": results, "refused": refused, "runs": runs}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
