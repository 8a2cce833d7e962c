"""Distributions of actions with a density in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from flowpolicy.functional.gaussian import gaussian_log_prob, tanh_log_derivative

DATA_ACTION_LIMIT = 1 - 1e-5


class ActionDistribution(ABC):
    """How likely each action is at the observations of a batch."""

    @abstractmethod
    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The action of ``noise`` ``[*B, A]`` and its log-probability, ``[*B, A]``, ``[*B, 1]``."""

    @abstractmethod
    def log_prob(self, action: Tensor) -> Tensor:
        """The log-probability of an action, ``[*B, A] -> [*B, 1]``."""

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """The action of the mean, ``[*B, A]``."""


@final
@dataclass(frozen=True)
class Gaussian(ActionDistribution):
    r"""A Gaussian with independent dimensions.

    .. math:: a = \mu + \sigma \epsilon,\qquad \epsilon \sim \mathcal N(0, I)

    Args:
        mean: ``[*B, A]``.
        log_std: ``[*B, A]``.

    Example:
        >>> import torch
        >>> Gaussian(torch.zeros(1, 2), torch.zeros(1, 2)).log_prob(torch.zeros(1, 2))
        tensor([[-1.8379]])
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``noise [*B, A] -> [*B, A], [*B, 1]``."""
        action = self.mean + self.log_std.exp() * noise
        return action, gaussian_log_prob(noise, self.log_std)

    def log_prob(self, action: Tensor) -> Tensor:
        """``[*B, A] -> [*B, 1]``."""
        return gaussian_log_prob((action - self.mean) * (-self.log_std).exp(), self.log_std)

    @property
    def mode(self) -> Tensor:
        """The mean, ``[*B, A]``."""
        return self.mean


@final
@dataclass(frozen=True)
class TanhGaussian(ActionDistribution):
    r"""A Gaussian squashed into (-1, 1).

    .. math:: a = \tanh(x),\quad x = \mu + \sigma \epsilon,\qquad
        \log\pi(a) = \log\mathcal N(x; \mu, \sigma^2) - \sum_d \log(1 - \tanh^2 x_d)

    The log-probability of a given action takes it to :math:`\pm(1 - 10^{-5})` at most, because one
    at the border has no finite ``x``. The mode is the action of the mean, :math:`\tanh\mu`.

    Args:
        mean: ``[*B, A]``, before squashing.
        log_std: ``[*B, A]``, before squashing.

    Example:
        >>> import torch
        >>> distribution = TanhGaussian(torch.zeros(1, 1), torch.zeros(1, 1))
        >>> action, log_prob = distribution.sample(torch.ones(1, 1))
        >>> torch.allclose(distribution.log_prob(action), log_prob)
        True
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``noise [*B, A] -> [*B, A], [*B, 1]``."""
        x = self.mean + self.log_std.exp() * noise
        return x.tanh(), gaussian_log_prob(noise, self.log_std) - tanh_log_derivative(x)

    def log_prob(self, action: Tensor) -> Tensor:
        """``[*B, A] -> [*B, 1]``."""
        # In half precision that limit would be rounded to 1.
        limit = min(DATA_ACTION_LIMIT, 1 - torch.finfo(action.dtype).eps)
        x = torch.atanh(action.clamp(-limit, limit))
        noise = (x - self.mean) * (-self.log_std).exp()
        return gaussian_log_prob(noise, self.log_std) - tanh_log_derivative(x)

    @property
    def mode(self) -> Tensor:
        """The squashed mean, ``[*B, A]``."""
        return self.mean.tanh()
