"""Holds the updates that ``benchmarks.gpu`` measures against float64 on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from tensordict import TensorDict

import flowpolicy as fp
from benchmarks.problem import random_batch

UPDATES = 3

Expected = tuple[list[TensorDict], list[dict[str, float]], torch.Tensor]
"""Batches with draws, the losses of each update, and the parameters after the last."""


def doubled(batch: TensorDict) -> TensorDict:
    """Floating-point entries in float64."""
    return batch.apply(lambda value: value.double() if value.is_floating_point() else value)


def reference(agent: fp.Agent) -> Expected:
    """Batches with draws, and what they do to ``agent`` in float64 on the CPU."""
    agent = copy.deepcopy(agent).cpu().double()
    torch.manual_seed(1)
    batches = [agent.with_noise(doubled(random_batch()), None) for _ in range(UPDATES)]
    losses = [{k: v.item() for k, v in agent.update(batch).items()} for batch in batches]
    return batches, losses, flat(agent)


def flat(agent: fp.Agent) -> torch.Tensor:
    """All trained parameters in one vector, in float64 on the CPU."""
    return torch.cat([p.detach().double().cpu().flatten() for _, p in agent.trained_parameters()])


def errors(
    update: Callable[[TensorDict], TensorDict],
    agent: fp.Agent,
    expected: Expected,
    device: torch.device,
    seeds: int,
) -> dict[str, float]:
    """Largest relative error of a loss, and of the way that the parameters went."""
    batches, losses, after = expected
    before = flat(agent)
    loss_error = 0.0
    for batch, theirs in zip(batches, losses, strict=True):
        single = batch.apply(lambda v: v.float() if v.is_floating_point() else v).to(device)
        ours = update(single if seeds == 1 else torch.stack([single] * seeds))
        for key, value in theirs.items():
            got = ours[key] if seeds == 1 else ours[key][0]
            if key.startswith("loss"):
                loss_error = max(loss_error, abs(got.item() - value) / abs(value))
    way = (after - before).norm()
    return {
        "loss_error": loss_error,
        "step_error": float((flat(agent) - after).norm() / way),
    }


# --- forms ----------------------------------------------------------------------------------------
