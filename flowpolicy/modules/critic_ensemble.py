"""State-action values from several independent critics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

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
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.modules.keys import entry
from flowpolicy.modules.mlp import Activation, like, tanh_gelu
from flowpolicy.modules.stacked import stacked_mlp, values_of_members


@final
class CriticEnsemble(TensorDictModuleBase):
    r"""``E`` critics with weights of their own, computed as one batched product.

    .. math:: Q_k(s, a) = \mathrm{MLP}_k\big([s \,\|\, a]\big), \qquad k = 1..E

    As a TensorDict module it reads ``observation`` and ``action`` and writes
    ``state_action_values`` ``[*B, E]`` and ``state_action_value`` ``[*B, 1]``, aggregated.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes.
        size: ``E``.
        layer_norm: a LayerNorm after each activation.
        aggregation: how the TensorDict call makes one value of ``E``.
        activation: makes an activation.

    Raises:
        ConfigError: a size that is no whole number of at least 1.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> critic = CriticEnsemble(obs_dim=3, act_dim=2, hidden=(16, 16), size=2)
        >>> critic.values(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([2, 4, 1])

    Source: architecture of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538
    (LayerNorm after GELU, epsilon 1e-6).
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        size: int = 2,
        layer_norm: bool = True,
        aggregation: Aggregation = mean_value,
        activation: Activation = tanh_gelu,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation", "action"]
        self.out_keys = ["state_action_values", "state_action_value"]
        self.obs_dim = require_obs_dim("CriticEnsemble", obs_dim)
        self.act_dim = require_at_least("CriticEnsemble", "act_dim", act_dim, 1)
        self.size = require_at_least("CriticEnsemble", "size", size, 1)
        self.aggregation = aggregation
        self.net = stacked_mlp(
            "CriticEnsemble",
            obs_dim + act_dim,
            hidden,
            members=self.size,
            layer_norm=layer_norm,
            activation=activation,
        )

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """``observation [*B, O], action [*B, A] -> [E, *B, 1]``."""
        parameter = like(self.net)
        require_input("CriticEnsemble", "observation", observation, self.obs_dim, parameter)
        require_input("CriticEnsemble", "action", action, self.act_dim, parameter)
        require_same_batch("CriticEnsemble", "observation", observation, "action", action)
        return values_of_members(self.net, self.size, torch.cat([observation, action], dim=-1))

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``state_action_values`` and ``state_action_value``."""
        values = self.values(*(entry("CriticEnsemble", tensordict, key) for key in self.in_keys))
        tensordict.set(self.out_keys[0], values.squeeze(-1).movedim(0, -1))
        return tensordict.set(self.out_keys[1], self.aggregation(values))
