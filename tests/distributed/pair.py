"""One of two processes: ``python -m tests.distributed.pair <folder> <rank> fast|slow``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from flowpolicy.errors import FlowPolicyError
from tests.distributed.cases import CASES, SLOW_CASES, Results
from tests.distributed.refusals import REFUSALS
from tests.distributed.runs import RUNS


def main(folder: Path, rank: int, kind: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",  # ports are the system's choice
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=300),
    )
    found = fast(folder) if kind == "fast" else {"results": results_of(SLOW_CASES)}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def fast(folder: Path) -> dict[str, Any]:
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Creating .* which inherits from WeightUpdaterBase")
    return {
        "results": results_of(CASES),
        "refused": {name: refusal(act) for name, (act, _) in REFUSALS.items()},
        "runs": {name: run(folder) for name, run in RUNS.items()},
    }


def results_of(cases: Mapping[str, Callable[[], Results]]) -> dict[str, Results]:
    return {name: case() for name, case in cases.items()}


def refusal(act: Callable[[], None]) -> str:
    try:
        act()
    except FlowPolicyError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
