"""State-action values that also hold on the way from noise to action."""

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
class NoisyCriticEnsemble(TensorDictModuleBase):
    r"""``E`` critics of a noisy action and the flow time at which it stands.

    .. math::
        Q_k(s, x_t, t) = \mathrm{MLP}_k\big([s \,\|\, x_t \,\|\, t]\big), \qquad
        Q_k(s, a) = Q_k(s, a, 1), \qquad k = 1..E

    ``values`` is at ``t = 1``, where the action is clean, so it stands wherever a
    ``CriticEnsemble`` does; ``values_at`` is at any time. As a TensorDict module it does what a
    ``CriticEnsemble`` does.

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
        >>> critic = NoisyCriticEnsemble(obs_dim=3, act_dim=2, hidden=(16, 16), size=10)
        >>> s, x = torch.zeros(4, 3), torch.zeros(4, 2)
        >>> critic.values_at(s, x, torch.full((4, 1), 0.5)).shape
        torch.Size([10, 4, 1])
        >>> torch.equal(critic.values(s, x), critic.values_at(s, x, torch.ones(4, 1)))
        True

    Source: CGQL in the released code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026,
    arXiv 2601.14234.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        size: int = 10,
        layer_norm: bool = True,
        aggregation: Aggregation = mean_value,
        activation: Activation = tanh_gelu,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation", "action"]
        self.out_keys = ["state_action_values", "state_action_value"]
        self.obs_dim = require_obs_dim("NoisyCriticEnsemble", obs_dim)
        self.act_dim = require_at_least("NoisyCriticEnsemble", "act_dim", act_dim, 1)
        self.size = require_at_least("NoisyCriticEnsemble", "size", size, 1)
        self.aggregation = aggregation
        self.net = stacked_mlp(
            "NoisyCriticEnsemble",
            self.obs_dim + self.act_dim + 1,
            hidden,
            members=self.size,
            layer_norm=layer_norm,
            activation=activation,
        )

    def values_at(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        """``observation [*B, O], x_t [*B, A], time [*B, 1] -> [E, *B, 1]``."""
        parameter = like(self.net)
        require_input("NoisyCriticEnsemble", "observation", observation, self.obs_dim, parameter)
        require_input("NoisyCriticEnsemble", "action", x_t, self.act_dim, parameter)
        require_input("NoisyCriticEnsemble", "time", time, 1, parameter)
        require_same_batch("NoisyCriticEnsemble", "observation", observation, "action", x_t)
        require_same_batch("NoisyCriticEnsemble", "observation", observation, "time", time)
        return values_of_members(self.net, self.size, torch.cat([observation, x_t, time], dim=-1))

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """At ``t = 1``: ``observation [*B, O], action [*B, A] -> [E, *B, 1]``."""
        return self.values_at(
            observation, action, observation.new_ones((*observation.shape[:-1], 1))
        )

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``state_action_values`` and ``state_action_value``."""
        given = (entry("NoisyCriticEnsemble", tensordict, key) for key in self.in_keys)
        values = self.values(*given)
        tensordict.set(self.out_keys[0], values.squeeze(-1).movedim(0, -1))
        return tensordict.set(self.out_keys[1], self.aggregation(values))
