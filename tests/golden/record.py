"""Reads one recorded update into an agent and a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import flowpolicy as fp
from flowpolicy.modules.stacked import StackedLayerNorm, StackedLinear

FOLDER = Path(__file__).parent


class Record:
    """One ``.npz``: configuration, batch, draws, and what came out."""

    def __init__(self, name: str) -> None:
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files if key != "config"}
            self.config: dict[str, Any] = json.loads(str(file["config"]))

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key])).double()

    def draw(self, number: int) -> Tensor:
        (key,) = [key for key in self.arrays if key.startswith(f"draws/{number:02d}_")]
        return self.tensor(key)

    def info(self, key: str) -> float:
        return float(self.arrays[f"info/{key}"])

    def batch(self, **draws: Tensor) -> TensorDict:
        """The batch, with ``noise``, ``next_noise``, ``x0`` and ``time`` where given."""
        next_step = {
            "observation": self.tensor("batch/next_observations"),
            "reward": self.tensor("batch/rewards").unsqueeze(-1),
            "terminated": (1 - self.tensor("batch/masks")).unsqueeze(-1).bool(),
        }
        if "next_noise" in draws:
            next_step["noise"] = draws.pop("next_noise")
        return TensorDict(
            {
                "observation": self.tensor("batch/observations"),
                "action": self.tensor("batch/actions"),
                "next": next_step,
                **draws,
            },
            batch_size=[8],
        )

    def network(self, kind: str, module: str) -> list[Tensor]:
        """A recorded network layer by layer; ``kind`` is params, grads or after."""
        prefix = f"{kind}/{module}/"
        layers = sorted(
            {
                key.removeprefix(prefix).split("/")[-2]
                for key in self.arrays
                if key.startswith(prefix)
            }
        )
        (head,) = {
            key.removeprefix(prefix).split("/")[0] for key in self.arrays if key.startswith(prefix)
        }
        tensors = []
        for i in range(sum(layer.startswith("Dense") for layer in layers)):
            kernel = self.tensor(f"{prefix}{head}/Dense_{i}/kernel")
            bias = self.tensor(f"{prefix}{head}/Dense_{i}/bias")
            stacked = kernel.ndim == 3
            tensors += [kernel, bias.unsqueeze(1)] if stacked else [kernel.T, bias]
            if f"LayerNorm_{i}" in layers:
                norm = [
                    self.tensor(f"{prefix}{head}/LayerNorm_{i}/{part}")
                    for part in ("scale", "bias")
                ]
                tensors += [part.unsqueeze(1) if stacked else part for part in norm]
        return tensors


def layers_of(network: nn.Module) -> list[nn.Parameter]:
    """The parameters layer by layer: weight, then bias."""
    kinds = (nn.Linear, nn.LayerNorm, StackedLinear, StackedLayerNorm)
    return [p for m in network.modules() if isinstance(m, kinds) for p in (m.weight, m.bias)]


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
    load(agent.targets["critic"], record.network("params", "modules_target_critic"))
    return agent
