"""Holds the updates that ``benchmarks.gpu`` measures against float64 on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tensordict import TensorDict

import flowpolicy as fp
from benchmarks.problem import BATCH, random_dataset
from flowpolicy.data import Dataset

UPDATES = 3


@dataclass(frozen=True)
class Reference:
    """Updates of an agent in float64 on the CPU.

    Args:
        dataset: where the batches come from, row by row.
        draws: the noise of each update.
        losses: what each update reported.
        after: the parameters after the last.
    """

    dataset: Dataset
    draws: list[TensorDict]
    losses: list[dict[str, float]]
    after: torch.Tensor

    def batches(self, device: torch.device, seeds: int) -> list[TensorDict]:
        """In float32, with noise; the same for each of several seeds."""
        dataset = self.dataset.to(device)
        rows = torch.arange(UPDATES * BATCH).split(BATCH)
        drawn = [draws.float().to(device) for draws in self.draws]
        alone = [
            dataset.take(index).update(noise) for index, noise in zip(rows, drawn, strict=True)
        ]
        return alone if seeds == 1 else [torch.stack([batch] * seeds) for batch in alone]


def reference(agent: fp.Agent) -> Reference:
    """A few updates of a copy of ``agent``."""
    agent = copy.deepcopy(agent).cpu().double()
    torch.manual_seed(1)
    dataset = random_dataset(UPDATES * BATCH)
    draws, losses = [], []
    for index in torch.arange(len(dataset)).split(BATCH):
        batch = dataset.take(index)
        doubled = batch.apply(lambda value: value.double() if value.is_floating_point() else value)
        filled = agent.with_noise(doubled)
        draws.append(filled.exclude(*batch.keys(include_nested=True, leaves_only=True)))
        losses.append({key: value.item() for key, value in agent.update(filled).items()})
    return Reference(dataset, draws, losses, flat(agent))


def flat(agent: fp.Agent) -> torch.Tensor:
    """All trained parameters in one vector, in float64 on the CPU."""
    return torch.cat([p.detach().double().cpu().flatten() for _, p in agent.trained_parameters()])


def errors(
    update: Callable[[TensorDict], TensorDict],
    agent: fp.Agent,
    expected: Reference,
    device: torch.device,
    seeds: int,
) -> dict[str, float]:
    """Largest relative error of a loss, and of the way that the parameters went."""
    before, loss_error = flat(agent), 0.0
    for batch, losses in zip(expected.batches(device, seeds), expected.losses, strict=True):
        ours = update(batch)
        for key, value in losses.items():
            got = ours[key] if seeds == 1 else ours[key][0]
            if key.startswith("loss"):
                loss_error = max(loss_error, abs(got.item() - value) / abs(value))
    off, way = flat(agent) - expected.after, expected.after - before
    return {"loss_error": loss_error, "step_error": float(off.norm() / way.norm())}
