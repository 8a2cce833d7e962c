"""The network of a flow: where to move at a point and a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor, nn

from flowpolicy.errors import require_last_dim
from flowpolicy.modules.keys import entry
from flowpolicy.modules.mlp import Activation, mlp, tanh_gelu


@final
class VelocityField(TensorDictModuleBase):
    r"""A velocity field conditioned on the observation.

    .. math:: v_\theta(s, x_t, t) = \mathrm{MLP}\big([s \,\|\, x_t \,\|\, \phi(t)]\big)

    Time is the last input, raw (:math:`\phi(t) = t`) or embedded. The output is not squashed. As a
    TensorDict module it reads ``observation``, ``x_t`` and ``time`` and writes ``velocity``.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``; a flattened chunk counts as one action.
        hidden: hidden sizes.
        time_embedding: a module ``[*B, 1] -> [*B, D]`` with an attribute ``dim``, such as
            ``TimeEmbedding(64)``; raw time where ``None``.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: a size below 1.
        ShapeError: an input of another size (in use).

    Example:
        >>> import torch
        >>> field = VelocityField(obs_dim=3, act_dim=2, hidden=(16, 16))
        >>> field.velocity(torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(4, 1)).shape
        torch.Size([4, 2])

    Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538; initialisation and
    activation as in the authors' code (Xavier-uniform weights, zero biases, tanh-GELU).
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        time_embedding: nn.Module | None = None,
        layer_norm: bool = False,
        activation: Activation = tanh_gelu,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation", "x_t", "time"]
        self.out_keys = ["velocity"]
        self.obs_dim = obs_dim
        self.act_dim = act_dim
        self.time_embedding = time_embedding
        time_dim = 1 if time_embedding is None else cast("int", time_embedding.dim)
        self.net = mlp(
            "VelocityField",
            obs_dim + act_dim + time_dim,
            act_dim,
            hidden,
            layer_norm=layer_norm,
            activation=activation,
        )

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        """``observation [*B, O], x_t [*B, A], time [*B, 1] -> [*B, A]``."""
        require_last_dim("VelocityField", "observation", observation, self.obs_dim)
        require_last_dim("VelocityField", "x_t", x_t, self.act_dim)
        require_last_dim("VelocityField", "time", time, 1)
        features = time if self.time_embedding is None else self.time_embedding(time)
        out: Tensor = self.net(torch.cat([observation, x_t, features], dim=-1))
        return out

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``velocity``."""
        inputs = (entry("VelocityField", tensordict, key) for key in self.in_keys)
        return tensordict.set(self.out_keys[0], self.velocity(*inputs))
