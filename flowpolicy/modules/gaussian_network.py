"""The network behind Gaussian actors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_positive
from flowpolicy.modules.exact_linear import ExactLinear
from flowpolicy.modules.mlp import Activation, TanhGELU, hidden_layers

LogStdRange = tuple[float, float]


@final
class GaussianNetwork(nn.Module):
    r"""Means and log standard deviations from one trunk with a linear head for each.

    .. math:: h = \mathrm{trunk}(s),\qquad \mu = W h + b,\qquad
        \log\sigma = \mathrm{clip}_{[l, u]}(W' h + b')\ \text{ or }\ 0

    Args:
        owner: who is building it, for error messages.
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes of the trunk.
        log_std_range: ``(l, u)``; the standard deviation is constantly 1 where ``None``.
        head_gain: of the heads' initial weights; 0.1 starts near zero.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: no range or an empty one, a gain that is not above 0, or an impossible size.

    Example:
        >>> import torch
        >>> network = GaussianNetwork("Actor", 3, 2, hidden=(16,), log_std_range=(-5.0, 2.0))
        >>> mean, log_std = network(torch.zeros(4, 3))
        >>> mean.shape, log_std.shape
        (torch.Size([4, 2]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        owner: str,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int],
        *,
        log_std_range: LogStdRange | None,
        head_gain: float = 1.0,
        layer_norm: bool = False,
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__()
        if log_std_range is not None and not _is_range(log_std_range):
            raise ConfigError(
                f"{owner}: log_std_range must be (low, high) with low < high, got "
                f"{log_std_range!r}. For a constant standard deviation of 1 pass None."
            )
        head = partial(ExactLinear, gain=require_positive(owner, "head_gain", head_gain))
        self.log_std_range = log_std_range
        self.trunk, width = hidden_layers(
            owner, obs_dim, hidden, layer_norm=layer_norm, activation=activation
        )
        self.mean = head(width, act_dim)
        self.log_std = None if log_std_range is None else head(width, act_dim)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """``[*B, O] -> [*B, A], [*B, A]``: mean and log standard deviation."""
        features = self.trunk(observation)
        mean: Tensor = self.mean(features)
        if self.log_std is None or self.log_std_range is None:
            return mean, torch.zeros_like(mean)
        return mean, self.log_std(features).clamp(*self.log_std_range)


def _is_range(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and value[0] < value[1]
