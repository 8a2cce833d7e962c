"""A policy without noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import final

from torch import Tensor

from flowpolicy.errors import require_positive
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.exact_linear import ExactLinear
from flowpolicy.modules.mlp import Activation, TanhGELU, like, mlp


@final
class DeterministicActor(Actor):
    r"""One action for each observation.

    .. math:: \pi_\theta(s) = \tanh\big(\mathrm{MLP}(s)\big)

    It draws nothing: its noise is empty, ``[*B, 0]``. Put a ``NoisyActor`` around it to explore.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes.
        squash: whether tanh keeps the action in (-1, 1); it is clipped otherwise.
        head_gain: of the last layer's initial weights; 0.1 in the code of ReBRAC.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: a gain that is not above 0, or a size that is no whole number of at least 1.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> actor = DeterministicActor(obs_dim=3, act_dim=2, hidden=(16, 16))
        >>> s = torch.zeros(4, 3)
        >>> actor.act(s, actor.draw_noise(s)).shape
        torch.Size([4, 2])

    Source: Fujimoto, Gu, "A minimalist approach to offline reinforcement learning", 2021, arXiv
    2106.06860; Tarasov et al., "Revisiting the minimalist approach", 2023, arXiv 2305.09836.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        squash: bool = True,
        head_gain: float = 1.0,
        layer_norm: bool = False,
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__(obs_dim, act_dim, noise_shape=(0,))
        self.squash = squash
        gain = require_positive("DeterministicActor", "head_gain", head_gain)
        self.net = mlp(
            "DeterministicActor",
            self.obs_dim,
            self.act_dim,
            hidden,
            layer_norm=layer_norm,
            activation=activation,
            head=partial(ExactLinear, gain=gain),
        )

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, 0] -> [*B, A]``."""
        self.check_inputs(observation, noise, like(self.net))
        out: Tensor = self.net(observation)
        return out.tanh() if self.squash else out
