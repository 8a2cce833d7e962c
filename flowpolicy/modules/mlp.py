"""The one multi-layer perceptron of the published flow-policy code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from flowpolicy.errors import require_at_least, require_hidden
from flowpolicy.functional.tanh_gelu import tanh_gelu
from flowpolicy.modules.exact_linear import ExactLinear
from flowpolicy.modules.xavier_linear import XavierLinear

Activation = Callable[[], nn.Module]
Linear = Callable[[int, int], nn.Module]
"""Makes a linear layer of given sizes."""


class TanhGELU(nn.Module):
    """GELU in its tanh approximation, the authors' activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return tanh_gelu(x)


class LayerNorm1e6(nn.LayerNorm):
    """LayerNorm with the authors' epsilon of 1e-6 (PyTorch's default is 1e-5).

    Args:
        features: the width that is normalised.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """``[*B, features] -> [*B, features]``."""
        # Under autocast vmap differentiates only inputs of the weights' dtype.
        return super().forward(x.to(self.weight.dtype))


def hidden_layers(
    owner: str,
    in_features: int,
    hidden: Sequence[int],
    *,
    layer_norm: bool,
    activation: Activation = TanhGELU,
    linear: Linear = XavierLinear,
    outer: Linear = ExactLinear,
    norm: Callable[[int], nn.Module] = LayerNorm1e6,
) -> tuple[nn.Sequential, int]:
    """Linear, activation, LayerNorm where asked, for each hidden size; and the width at the end.

    Args:
        owner: who is building it, for error messages.
        in_features: the width of the input.
        hidden: the hidden sizes; none gives the identity.
        layer_norm: whether a LayerNorm follows each activation.
        activation: makes an activation.
        linear: makes a linear layer of given sizes.
        outer: makes the first layer.
        norm: makes a normalisation of given size.
    """
    width = require_at_least(owner, "input size", in_features, 1)
    layers: list[nn.Module] = []
    for size in require_hidden(owner, hidden):
        layers += [(linear if layers else outer)(width, size), activation()]
        if layer_norm:
            layers.append(norm(size))
        width = size
    return nn.Sequential(*layers), width


def mlp(
    owner: str,
    in_features: int,
    out_features: int,
    hidden: Sequence[int],
    *,
    layer_norm: bool,
    activation: Activation = TanhGELU,
    linear: Linear = XavierLinear,
    outer: Linear = ExactLinear,
    norm: Callable[[int], nn.Module] = LayerNorm1e6,
    head: Linear | None = None,
) -> nn.Sequential:
    """Hidden layers, then a plain linear layer.

    Args:
        owner: who is building it, for error messages.
        in_features: the width of the input.
        out_features: the width of the output.
        hidden: the hidden sizes; none gives a linear map.
        layer_norm: whether a LayerNorm follows each activation.
        activation: makes an activation.
        linear: makes a linear layer of given sizes.
        outer: makes the first and the last layer.
        norm: makes a normalisation of given size.
        head: makes the last layer; ``outer`` where ``None``.
    """
    layers, width = hidden_layers(
        owner,
        in_features,
        hidden,
        layer_norm=layer_norm,
        activation=activation,
        linear=linear,
        outer=outer,
        norm=norm,
    )
    require_at_least(owner, "output size", out_features, 1)
    layers.append((head or outer)(width, out_features))
    return layers


def like(net: nn.Sequential) -> Tensor:
    """A parameter that stands for the dtype of all, found without walking over them."""
    return cast("Tensor", net[-1].bias)
