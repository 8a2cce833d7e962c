"""What a weight is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from flowpolicy.errors import ConfigError
from flowpolicy.modules.drawing import with_draws
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.paths.draws import Draw


class Weight(TensorDictModuleBase, ABC):
    """How much one data action counts, ``[*B, 1]``, at least 0, never with gradient.

    An implementation gives ``compute`` and, where it asks an actor, ``draws``. It holds its
    networks as ``frozen`` views, so that it trains and owns none. As a TensorDict module it reads
    ``observation``, ``action`` and what ``draws`` names, and writes ``weight``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.out_keys = ["weight"]

    @property
    def in_keys(self) -> list[NestedKey]:
        """The observation, the action, and what it draws."""
        keys = BatchKeys()
        return [keys.observation, keys.action, *self.draws(keys)]

    @in_keys.setter
    def in_keys(self, value: list[NestedKey]) -> None:
        raise ConfigError(
            f"{type(self).__name__}: in_keys are fixed ({value!r} was given): within a loss it "
            "reads the loss's keys, by itself the default ones. Call weight.weight(observation, "
            "action, noise) with tensors of other names."
        )

    @property
    def has_batch_statistic(self) -> bool:
        """Whether a number of the whole batch enters each sample's weight."""
        return False

    @abstractmethod
    def compute(self, evaluated: EvaluatedBatch) -> Tensor:
        """The weight ``[*B, 1]`` of the evaluated batch's actions."""

    def draws(self, keys: BatchKeys) -> Mapping[NestedKey, Draw]:
        """The random entries of the batch that ``compute`` reads."""
        del keys
        return {}

    @torch.no_grad()
    def of(self, evaluated: EvaluatedBatch) -> Tensor:
        """The weight on a batch that losses share, ``[*B, 1]``, detached."""
        return self.compute(evaluated).detach()

    def weight(self, observation: Tensor, action: Tensor, noise: Tensor | None = None) -> Tensor:
        """``observation [*B, O], action [*B, A][, noise [*B, *noise_shape]] -> [*B, 1]``."""
        # Without a batch size: tensors of other shapes are refused where they are read.
        batch = TensorDict({"observation": observation, "action": action})
        if noise is not None:
            batch.set("noise", noise)
        weight: Tensor = self(batch).get("weight")
        return weight

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``weight``."""
        keys = BatchKeys()
        batch = with_draws(tensordict, self.draws(keys), keys)
        return tensordict.set(self.out_keys[0], self.of(EvaluatedBatch(batch, keys)))
