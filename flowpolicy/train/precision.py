"""In how many digits the matrix products of a run's updates are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowpolicy.train.config import TrainConfig


@contextmanager
def products_in(config: TrainConfig) -> Iterator[None]:
    """Has the updates within compute their matrix products as ``config.precision`` says.

    Weights, optimizer, losses and what networks give out stay in float32.

    Args:
        config: the run.
    """
    if config.precision == "tf32":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
    elif config.precision == "bfloat16":
        device = torch.device(config.device).type
        # Without the cache, which would keep weights as they were before an optimizer's step.
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):
            yield
    else:
        yield
