"""The network of a diffusion: which noise is in a noisy action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor, nn

from flowpolicy.errors import (
    ConfigError,
    require_at_least,
    require_hidden,
    require_input,
    require_obs_dim,
    require_same_batch,
)
from flowpolicy.modules.fourier_features import FourierFeatures
from flowpolicy.modules.keys import entry
from flowpolicy.modules.mlp import Activation, like, mlp
from flowpolicy.modules.xavier_linear import XavierLinear


@final
class NoisePredictor(TensorDictModuleBase):
    r"""The noise in a noisy action, conditioned on the observation.

    .. math::
        \epsilon_\psi(s, x_t, t) = \mathrm{MLP}\big([x_t \,\|\, s \,\|\, \phi(n)]\big),\qquad
        n = N (1 - t),\qquad \phi = \mathrm{MLP} \circ \mathrm{Fourier}

    Time is the library's flow time, noise at 0 and the action at 1; inside, it is numbered in
    diffusion steps, ``N`` of them. As a TensorDict module it reads ``observation``, ``x_t`` and
    ``time`` and writes ``predicted_noise``.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``; a flattened chunk counts as one action.
        hidden: hidden sizes, at least one; also of the network of time, whose last layer is not
            activated.
        steps: ``N``.
        time_dim: the number of Fourier features, even.
        activation: makes an activation.

    Raises:
        ConfigError: a size that is no whole number of at least 1, or no hidden size.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> predictor = NoisePredictor(obs_dim=3, act_dim=2, hidden=(16, 16), steps=10)
        >>> s, x, t = torch.zeros(4, 3), torch.zeros(4, 2), torch.full((4, 1), 0.3)
        >>> predictor.predict(s, x, t).shape
        torch.Size([4, 2])

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239;
    architecture of QSM and DAC in the released code of Li, Levine, "Q-learning with adjoint
    matching", ICLR 2026, arXiv 2601.14234 (Mish, no LayerNorm).
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        steps: int = 10,
        time_dim: int = 64,
        activation: Activation = nn.Mish,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation", "x_t", "time"]
        self.out_keys = ["predicted_noise"]
        self.obs_dim = require_obs_dim("NoisePredictor", obs_dim)
        self.act_dim = require_at_least("NoisePredictor", "act_dim", act_dim, 1)
        self.steps = require_at_least("NoisePredictor", "steps", steps, 1)
        hidden = require_hidden("NoisePredictor", hidden)
        if not hidden:
            raise ConfigError("NoisePredictor: hidden must have at least one size, got none.")
        self.time_embedding = nn.Sequential(
            FourierFeatures(time_dim),
            mlp(
                "NoisePredictor",
                time_dim,
                hidden[-1],
                hidden[:-1],
                layer_norm=False,
                activation=activation,
                head=XavierLinear,
            ),
        )
        self.net = mlp(
            "NoisePredictor",
            self.act_dim + self.obs_dim + hidden[-1],
            self.act_dim,
            hidden,
            layer_norm=False,
            activation=activation,
        )

    def predict(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        """``observation [*B, O], x_t [*B, A], time [*B, 1] -> [*B, A]``."""
        parameter = like(self.net)
        require_input("NoisePredictor", "observation", observation, self.obs_dim, parameter)
        require_input("NoisePredictor", "x_t", x_t, self.act_dim, parameter)
        require_input("NoisePredictor", "time", time, 1, parameter)
        require_same_batch("NoisePredictor", "observation", observation, "x_t", x_t)
        require_same_batch("NoisePredictor", "observation", observation, "time", time)
        features = self.time_embedding(self.steps * (1 - time))
        out: Tensor = self.net(torch.cat([x_t, observation, features], dim=-1))
        return out

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``predicted_noise``."""
        inputs = (entry("NoisePredictor", tensordict, key) for key in self.in_keys)
        return tensordict.set(self.out_keys[0], self.predict(*inputs))
