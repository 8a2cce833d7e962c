"""The classic stochastic policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor

from flowpolicy.errors import require_input
from flowpolicy.modules.density_actor import DensityActor
from flowpolicy.modules.gaussian import Gaussian, TanhGaussian
from flowpolicy.modules.gaussian_network import GaussianNetwork, LogStdRange
from flowpolicy.modules.mlp import Activation, TanhGELU


@final
class GaussianActor(DensityActor):
    r"""A Gaussian policy; its mean is not squashed.

    .. math:: \pi(\cdot \mid s) = \mathcal N\big(\mu_\theta(s),\ \sigma(s)^2\big), \qquad
        a = \mathrm{clip}(\mu_\theta(s) + \sigma(s)\, z)

    The density is that of the action before clipping.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes.
        log_std_range: bounds of a log standard deviation that depends on the observation; it is
            constantly 0, a standard deviation of 1, where ``None``.
        head_gain: of the heads' initial weights; 0.1 starts near zero.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: no range or an empty one, a gain that is not above 0, or a size that is no
            whole number of at least 1.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> actor = GaussianActor(obs_dim=3, act_dim=2, hidden=(16, 16))
        >>> s, z = torch.zeros(4, 3), torch.randn(4, 2)
        >>> actor.act(s, z).shape, actor.log_prob(s, torch.zeros(4, 2)).shape
        (torch.Size([4, 2]), torch.Size([4, 1]))

    Source: the policy of IQL, Kostrikov, Nair, Levine, 2021, arXiv 2110.06169, as in the code of
    Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        log_std_range: LogStdRange | None = None,
        head_gain: float = 1.0,
        layer_norm: bool = False,
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__(obs_dim, act_dim)
        self.net = GaussianNetwork(
            "GaussianActor",
            self.obs_dim,
            self.act_dim,
            hidden,
            log_std_range=log_std_range,
            head_gain=head_gain,
            layer_norm=layer_norm,
            activation=activation,
        )

    def distribution(self, observation: Tensor) -> Gaussian:
        """At ``observation`` ``[*B, O]``."""
        require_input(self.name, "observation", observation, self.obs_dim, self.net.mean.bias)
        return Gaussian(*self.net(observation))


@final
class TanhGaussianActor(DensityActor):
    r"""A Gaussian policy squashed into (-1, 1), with a standard deviation of its own everywhere.

    .. math:: a = \tanh\big(\mu_\theta(s) + \sigma_\theta(s)\, z\big)

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes.
        log_std_range: bounds of the log standard deviation, ``(-5, 2)`` in the code of FQL,
            ``(-20, 2)`` in that of QAM.
        head_gain: of the heads' initial weights; 0.1 in the code of FQL.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: no range or an empty one, a gain that is not above 0, or a size that is no
            whole number of at least 1.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> actor = TanhGaussianActor(obs_dim=3, act_dim=2, hidden=(16, 16))
        >>> action, log_prob = actor.sample(torch.zeros(4, 3), torch.randn(4, 2))
        >>> action.shape, log_prob.shape
        (torch.Size([4, 2]), torch.Size([4, 1]))

    Source: Haarnoja et al., "Soft actor-critic", 2018, arXiv 1801.01290.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        log_std_range: LogStdRange = (-5.0, 2.0),
        head_gain: float = 1.0,
        layer_norm: bool = False,
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__(obs_dim, act_dim)
        self.net = GaussianNetwork(
            "TanhGaussianActor",
            self.obs_dim,
            self.act_dim,
            hidden,
            log_std_range=log_std_range,
            head_gain=head_gain,
            layer_norm=layer_norm,
            activation=activation,
        )

    def distribution(self, observation: Tensor) -> TanhGaussian:
        """At ``observation`` ``[*B, O]``."""
        require_input(self.name, "observation", observation, self.obs_dim, self.net.mean.bias)
        return TanhGaussian(*self.net(observation))
