"""In how many digits the matrix products of a run's updates are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowpolicy.train.config import TrainConfig


@contextmanager
def products_in(config: TrainConfig) -> Iterator[None]:
    """Has the updates within compute their matrix products as ``config.precision`` says.

    Weights, optimizer, losses, and the first and last layers of networks stay in float32. With
    ``"float32"`` torch's own settings hold, whatever they are.

    Args:
        config: the run.
    """
    # Never read by its older name, which raises an error where this one was set.
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    if config.precision == "tf32" and before != "tf32":
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision("highest")
            matmul.fp32_precision = before
    elif config.precision == "bfloat16":
        with torch.autocast(torch.device(config.device).type, torch.bfloat16):
            yield
    else:
        yield
