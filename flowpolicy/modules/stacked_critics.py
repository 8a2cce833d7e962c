"""What the ensembles of critics share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor

from flowpolicy.errors import (
    require_at_least,
    require_input,
    require_obs_dim,
    require_same_batch,
)
from flowpolicy.functional.aggregation import Aggregation
from flowpolicy.modules.exact_linear import ExactStackedLinear
from flowpolicy.modules.keys import entry
from flowpolicy.modules.mlp import Activation, like, mlp
from flowpolicy.modules.stacked import StackedLayerNorm, StackedLinear


class StackedCritics(TensorDictModuleBase, ABC):
    """``E`` perceptrons with weights of their own and one output each, as one batched product.

    An implementation gives ``values``. As a TensorDict module it reads ``observation`` and
    ``action`` and writes ``state_action_values`` ``[*B, E]`` and ``state_action_value``
    ``[*B, 1]``, aggregated.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes.
        size: ``E``.
        further_inputs: the width of what they see besides observation and action.
        layer_norm: a LayerNorm after each activation.
        aggregation: how the TensorDict call makes one value of ``E``.
        activation: makes an activation.

    Raises:
        ConfigError: a size that is no whole number of at least 1.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int],
        *,
        size: int,
        further_inputs: int = 0,
        layer_norm: bool,
        aggregation: Aggregation,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation", "action"]
        self.out_keys = ["state_action_values", "state_action_value"]
        self.obs_dim = require_obs_dim(self.name, obs_dim)
        self.act_dim = require_at_least(self.name, "act_dim", act_dim, 1)
        self.size = require_at_least(self.name, "size", size, 1)
        self.aggregation = aggregation
        self.net = mlp(
            self.name,
            self.obs_dim + self.act_dim + further_inputs,
            1,
            hidden,
            layer_norm=layer_norm,
            activation=activation,
            linear=lambda i, o: StackedLinear(self.size, i, o),
            outer=lambda i, o: ExactStackedLinear(self.size, i, o),
            norm=lambda features: StackedLayerNorm(self.size, features),
        )

    @property
    def name(self) -> str:
        """The class's name, for messages."""
        return type(self).__name__

    @abstractmethod
    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """``observation [*B, O], action [*B, A] -> [E, *B, 1]``."""

    def of_inputs(self, observation: Tensor, action: Tensor, time: Tensor | None = None) -> Tensor:
        """What every member makes of the inputs side by side.

        ``observation [*B, O], action [*B, A][, time [*B, 1]] -> [E, *B, 1]``.
        """
        like_these = like(self.net)
        require_input(self.name, "observation", observation, self.obs_dim, like_these)
        require_input(self.name, "action", action, self.act_dim, like_these)
        require_same_batch(self.name, "observation", observation, "action", action)
        inputs = [observation, action]
        if time is not None:
            require_input(self.name, "time", time, 1, like_these)
            require_same_batch(self.name, "observation", observation, "time", time)
            inputs.append(time)
        x = torch.cat(inputs, dim=-1)
        out: Tensor = self.net(x.reshape(1, -1, x.shape[-1]).expand(self.size, -1, -1))
        return out.reshape(self.size, *x.shape[:-1], 1)

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``state_action_values`` and ``state_action_value``."""
        values = self.values(*(entry(self.name, tensordict, key) for key in self.in_keys))
        tensordict.set(self.out_keys[0], values.squeeze(-1).movedim(0, -1))
        return tensordict.set(self.out_keys[1], self.aggregation(values))
