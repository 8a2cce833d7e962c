"""Reads one recorded update into an agent and a batch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import flowpolicy as fp
from flowpolicy.modules.stacked import StackedLayerNorm, StackedLinear

FOLDER = Path(__file__).parent
HIDDEN = (16, 16)
CRITIC = {
    "loss_qvalue": "critic/critic_loss",
    "qvalue_mean": "critic/q_mean",
    "qvalue_min": "critic/q_min",
    "qvalue_max": "critic/q_max",
}


class Record:
    """One ``.npz``: configuration, batch, draws, and what came out.

    Attributes:
        reported: the names of its losses and metrics.
        asked: those of them that were read.
    """

    def __init__(self, name: str) -> None:
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files if key != "config"}
            self.config: dict[str, Any] = json.loads(str(file["config"]))
        self.reported = {key[5:] for key in self.arrays if key.startswith("info/")}
        self.asked: set[str] = set()

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key])).double()

    def draw(self, number: int) -> Tensor:
        (key,) = [key for key in self.arrays if key.startswith(f"draws/{number:02d}_")]
        return self.tensor(key)

    def info(self, key: str) -> float:
        self.asked.add(key)
        return float(self.arrays[f"info/{key}"])

    def batch(self, **draws: Tensor) -> TensorDict:
        """The batch, with ``noise``, ``next_noise``, ``x0`` and ``time`` where given."""
        next_step = {
            "observation": self.at_the_end("next_observations", 1),
            "reward": self.at_the_end("rewards", 0).unsqueeze(-1),
            "terminated": (1 - self.at_the_end("masks", 0)).unsqueeze(-1).bool(),
        }
        if "next_noise" in draws:
            next_step["noise"] = draws.pop("next_noise")
        actions = self.tensor("batch/actions")
        columns = {
            "observation": self.tensor("batch/observations"),
            "action": actions.flatten(1),
            "next": {**next_step, "action": self.tensor("batch/next_actions").flatten(1)},
            **draws,
        }
        if "batch/valid" in self.arrays:
            columns["valid"] = self.at_the_end("valid", 0).unsqueeze(-1).bool()
            columns["steps_to_next_obs"] = torch.full((8, 1), actions.shape[1])
        return TensorDict(columns, batch_size=[8])

    def at_the_end(self, column: str, dims: int) -> Tensor:
        """A column of the batch; with an axis of time before its ``dims``, at the chunk's end."""
        value = self.tensor(f"batch/{column}")
        return value[:, -1] if value.ndim == dims + 2 else value

    def network(self, kind: str, module: str) -> list[Tensor]:
        """A recorded network layer by layer; ``kind`` is params, grads or after."""
        prefix = f"{kind}/{module}/"
        if f"{prefix}FourierFeatures_0/kernel" in self.arrays:  # a noise predictor, of three parts
            perceptrons = [self.network(kind, f"{module}/MLP_{i}") for i in range(2)]
            return [self.tensor(f"{prefix}FourierFeatures_0/kernel"), *chain(*perceptrons)]
        names = {key.removeprefix(prefix) for key in self.arrays if key.startswith(prefix)}
        if names == {"log_value"}:
            return [self.tensor(f"{prefix}log_value")]
        trunk = [name.removesuffix("kernel") for name in names if name.endswith("Dense_0/kernel")]
        first = trunk[0].removesuffix("Dense_0/")
        numbered = [f"{first}Dense_{i}" for i in range(len(names))]
        tensors = []
        for layer in [*numbered, "mean_net", "OutputDenseMean", "OutputDenseLogStd"]:
            if f"{layer}/kernel" not in names:
                continue
            kernel = self.tensor(f"{prefix}{layer}/kernel")
            bias = self.tensor(f"{prefix}{layer}/bias")
            stacked = kernel.ndim == 3
            tensors += [kernel, bias.unsqueeze(1)] if stacked else [kernel.T, bias]
            norm = layer.replace("Dense_", "LayerNorm_")
            if f"{norm}/scale" in names:
                parts = [self.tensor(f"{prefix}{norm}/{part}") for part in ("scale", "bias")]
                tensors += [part.unsqueeze(1) if stacked else part for part in parts]
        return tensors


@dataclass
class Recorded:
    """A record, and the agent that shall reproduce it.

    Args:
        agent: built with the record's configuration.
        record: the numbers.
        modules: our roles, and what they are called there.
        draws: our keys of noise and time, and the number of the draw there; or a tensor.
        metrics: our results (``"a + b"`` for a sum), and what they are called there; or a number.
    """

    agent: fp.Agent
    record: Record
    modules: dict[str, str]
    draws: dict[str, int | Tensor]
    metrics: dict[str, str | float]

    def drawn(self) -> dict[str, Tensor]:
        return {
            key: self.record.draw(value) if isinstance(value, int) else value
            for key, value in self.draws.items()
        }

    def batch(self, **draws: Tensor) -> TensorDict:
        return self.record.batch(**{**self.drawn(), **draws})

    def expected(self) -> dict[str, float]:
        return {
            ours: self.record.info(theirs) if isinstance(theirs, str) else theirs
            for ours, theirs in self.metrics.items()
        }


def layers_of(network: nn.Module) -> list[nn.Parameter]:
    """The parameters layer by layer: weight, then bias."""
    if isinstance(network, fp.LearnedCoefficient):
        return [network.log_value]
    kinds = (nn.Linear, nn.LayerNorm, StackedLinear, StackedLayerNorm)
    return [
        p
        for m in network.modules()
        if isinstance(m, (*kinds, fp.FourierFeatures))
        for p in m.parameters()
    ]


def load(network: nn.Module, tensors: list[Tensor]) -> None:
    """Copy recorded tensors into a network."""
    parameters = layers_of(network)
    assert len(parameters) == len(tensors)
    with torch.no_grad():
        for parameter, tensor in zip(parameters, tensors, strict=True):
            assert parameter.shape == tensor.shape
            parameter.copy_(tensor)


def load_agent(agent: fp.Agent, record: Record, modules: dict[str, str]) -> fp.Agent:
    """Make ``agent`` (in float64) the recorded one; ``modules`` maps our roles to their names."""
    agent.double()
    for role, module in modules.items():
        load(agent.networks[role], record.network("params", module))
    for role, target in agent.targets.items():
        load(target, record.network("params", target_of(modules[role])))
    return agent


def target_of(module: str) -> str:
    """What the records call the target of a module."""
    return module.replace("modules_", "modules_target_")
