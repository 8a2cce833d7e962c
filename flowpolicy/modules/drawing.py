"""Completing a batch with what is drawn at random."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tensordict import NestedKey, TensorDictBase

from flowpolicy.errors import require_floating
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.paths.draws import Draw


def with_draws(
    batch: TensorDictBase,
    draws: Mapping[NestedKey, Draw],
    keys: BatchKeys,
    generator: torch.Generator | None = None,
) -> TensorDictBase:
    """The batch with every missing draw drawn: a shallow copy, the caller's is not written."""
    missing = {key: draw for key, draw in draws.items() if batch.get(key, None) is None}
    like = batch.get(keys.observation, None)
    if not missing or like is None:  # a missing observation is refused where it is read
        return batch
    require_floating("batch", str(keys.observation), like)
    batch = batch.copy()
    for key, draw in missing.items():
        value = draw.sample(
            like.shape[:-1], dtype=like.dtype, device=like.device, generator=generator
        )
        batch.set(key, value)
    return batch
