"""State-action values from several independent critics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor

from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.modules.mlp import Activation, TanhGELU
from flowpolicy.modules.stacked_critics import StackedCritics


@final
class CriticEnsemble(StackedCritics):
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
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__(
            obs_dim,
            act_dim,
            hidden,
            size=size,
            layer_norm=layer_norm,
            aggregation=aggregation,
            activation=activation,
        )

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """``observation [*B, O], action [*B, A] -> [E, *B, 1]``."""
        return self.of_inputs(observation, action)
