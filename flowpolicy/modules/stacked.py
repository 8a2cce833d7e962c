"""Layers of an ensemble: one batched product for all members."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StackedLinear(nn.Module):
    r"""``E`` independent linear layers, :math:`y_k = x_k W_k + b_k`.

    Weights are Xavier-uniform *per member*: initialising the stacked tensor as a whole would
    compute wrong fans.

    Args:
        members: ``E``.
        in_features: the width of the input.
        out_features: the width of the output.
    """

    def __init__(self, members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(members, 1, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights; biases are 0."""
        nn.init.zeros_(self.bias)
        for member in self.weight:
            nn.init.xavier_uniform_(member)

    def forward(self, x: Tensor) -> Tensor:
        """``[E, N, in] -> [E, N, out]``."""
        return torch.baddbmm(self.bias, x, self.weight)

    def extra_repr(self) -> str:
        """Sizes, as ``nn.Linear`` prints them."""
        members, in_features, out_features = self.weight.shape
        return f"members={members}, in_features={in_features}, out_features={out_features}"


class StackedLayerNorm(nn.Module):
    """``E`` independent layer normalisations over the last dimension, epsilon 1e-6.

    Args:
        members: ``E``.
        features: the width that is normalised.
    """

    def __init__(self, members: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, 1, features))
        self.bias = nn.Parameter(torch.empty(members, 1, features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scales of 1, shifts of 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[E, N, features] -> [E, N, features]``."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:], eps=1e-6), self.weight)
