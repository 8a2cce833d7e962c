"""Completing a batch with what is drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from flowpolicy.errors import require_floating, require_tensor
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.paths.draws import Draw, GaussianNoise, Law

Sample = Callable[[Draw, Tensor], Tensor]
"""``(draw, observation [*B, O]) -> [*B, *shape]``."""


def noise_and_time(keys: BatchKeys, act_dim: int, law: Law) -> dict[NestedKey, Draw]:
    """The noise ``[*B, A]`` that a path to an action begins with, and a time ``[*B, 1]`` on it."""
    return {keys.x0: Draw((act_dim,), GaussianNoise()), keys.time: Draw((1,), law)}


def with_draws(
    batch: TensorDictBase,
    draws: Mapping[NestedKey, Draw],
    keys: BatchKeys,
    sample: Sample = Draw.like,
) -> TensorDictBase:
    """The batch with every missing draw drawn: a shallow copy, the caller's is not written."""
    return with_entries(batch, missing_draws(batch, draws, keys, sample))


def missing_draws(
    batch: TensorDictBase, draws: Mapping[NestedKey, Draw], keys: BatchKeys, sample: Sample
) -> dict[NestedKey, Tensor]:
    """Those of the draws that the batch lacks, drawn."""
    missing = {key: draw for key, draw in draws.items() if batch.get(key, None) is None}
    like = batch.get(keys.observation, None)
    if not missing or like is None:  # a missing observation is refused where it is read
        return {}
    require_tensor("batch", str(keys.observation), like)
    require_floating("batch", str(keys.observation), like)
    return {key: sample(draw, like) for key, draw in missing.items()}


def with_entries(batch: TensorDictBase, entries: Mapping[NestedKey, Tensor]) -> TensorDictBase:
    """A shallow copy with more entries; the batch itself where there are none."""
    if not entries:
        return batch
    batch = batch.copy()
    for key, value in entries.items():
        batch.set(key, value)
    return batch
