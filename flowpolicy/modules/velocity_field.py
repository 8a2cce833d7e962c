"""The network of a flow: where to move at a point and a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor, nn

from flowpolicy.errors import (
    ConfigError,
    require_at_least,
    require_input,
    require_obs_dim,
    require_same_batch,
)
from flowpolicy.modules.keys import entry
from flowpolicy.modules.mlp import Activation, TanhGELU, like, mlp


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
        ConfigError: a size that is no whole number of at least 1, or a ``time_embedding`` that is
            no module with ``dim``.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

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
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation", "x_t", "time"]
        self.out_keys = ["velocity"]
        self.obs_dim = require_obs_dim("VelocityField", obs_dim)
        self.act_dim = require_at_least("VelocityField", "act_dim", act_dim, 1)
        time_dim = _features(time_embedding)
        self.time_embedding = time_embedding
        self.net = mlp(
            "VelocityField",
            self.obs_dim + self.act_dim + time_dim,
            self.act_dim,
            hidden,
            layer_norm=layer_norm,
            activation=activation,
        )

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        """``observation [*B, O], x_t [*B, A], time [*B, 1] -> [*B, A]``."""
        parameter = like(self.net)
        require_input("VelocityField", "observation", observation, self.obs_dim, parameter)
        require_input("VelocityField", "x_t", x_t, self.act_dim, parameter)
        require_input("VelocityField", "time", time, 1, parameter)
        require_same_batch("VelocityField", "observation", observation, "x_t", x_t)
        require_same_batch("VelocityField", "observation", observation, "time", time)
        features = time if self.time_embedding is None else self.time_embedding(time)
        out: Tensor = self.net(torch.cat([observation, x_t, features], dim=-1))
        return out

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``velocity``."""
        inputs = (entry("VelocityField", tensordict, key) for key in self.in_keys)
        return tensordict.set(self.out_keys[0], self.velocity(*inputs))


def _features(time_embedding: nn.Module | None) -> int:
    if time_embedding is None:
        return 1
    if isinstance(time_embedding, nn.Module):
        if hasattr(time_embedding, "dim"):
            dim = cast("int", time_embedding.dim)
            return require_at_least("VelocityField", "time_embedding.dim", dim, 1)
        came = f"{type(time_embedding).__name__} without dim"
    else:
        came = repr(time_embedding)
    size = time_embedding if isinstance(time_embedding, int) else 64
    raise ConfigError(
        "VelocityField: time_embedding must be a module with an attribute dim, the number of its "
        f"features, got {came}. Pass TimeEmbedding({size})."
    )
