"""State-action values that also hold on the way from noise to action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor

from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.modules.mlp import Activation, TanhGELU
from flowpolicy.modules.stacked_critics import StackedCritics


@final
class NoisyCriticEnsemble(StackedCritics):
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
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__(
            obs_dim,
            act_dim,
            hidden,
            size=size,
            further_inputs=1,
            layer_norm=layer_norm,
            aggregation=aggregation,
            activation=activation,
        )

    def values_at(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        """``observation [*B, O], x_t [*B, A], time [*B, 1] -> [E, *B, 1]``."""
        return self.of_inputs(observation, x_t, time)

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """At ``t = 1``: ``observation [*B, O], action [*B, A] -> [E, *B, 1]``."""
        return self.values_at(
            observation, action, observation.new_ones((*observation.shape[:-1], 1))
        )
