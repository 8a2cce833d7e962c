"""The linear layer of the published flow-policy code."""

from __future__ import annotations

from torch import nn


class XavierLinear(nn.Linear):
    """A linear layer with Xavier-uniform weights, times ``gain``, and zero biases.

    Args:
        in_features: the width of the input.
        out_features: the width of the output.
        gain: of the initial weights.
    """

    def __init__(self, in_features: int, out_features: int, gain: float = 1.0) -> None:
        self.gain = gain  # before nn.Linear's own constructor, which asks for the initial weights
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        """Draws new weights; biases are 0."""
        super().reset_parameters()  # its draws come first in the random stream of a seed
        nn.init.xavier_uniform_(self.weight, self.gain)
        nn.init.zeros_(self.bias)
