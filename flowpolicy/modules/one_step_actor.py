"""A policy that acts in one network pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from flowpolicy.modules.actor import Actor
from flowpolicy.modules.mlp import Activation, TanhGELU, like, mlp


@final
class OneStepActor(Actor):
    r"""Maps observation and noise to an action in one pass.

    .. math:: \mu_\omega(s, z) = \mathrm{MLP}\big([s \,\|\, z]\big), \qquad a =
    \mathrm{clip}(\mu_\omega(s, z))

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: a size that is no whole number of at least 1.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> actor = OneStepActor(obs_dim=3, act_dim=2, hidden=(16, 16))
        >>> actor.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])

    Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        layer_norm: bool = False,
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__(obs_dim, act_dim)
        self.net = mlp(
            "OneStepActor",
            self.obs_dim + self.act_dim,
            self.act_dim,
            hidden,
            layer_norm=layer_norm,
            activation=activation,
        )

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, A] -> [*B, A]``, not clipped."""
        self.check_inputs(observation, noise, like(self.net))
        out: Tensor = self.net(torch.cat([observation, noise], dim=-1))
        return out
