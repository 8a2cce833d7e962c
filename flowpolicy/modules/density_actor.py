"""Actors with a density in closed form, and their modes."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

from torch import Tensor, nn

from flowpolicy.errors import (
    require_dtype,
    require_input,
    require_instance,
    require_same_batch,
)
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.gaussian import ActionDistribution
from flowpolicy.modules.stochastic_actor import StochasticActor


class DensityActor(StochasticActor):
    r"""An actor whose density at any action is known.

    .. math:: a \sim \pi(\cdot \mid s)

    An implementation gives ``distribution``: drawing, log-probabilities and the mode follow, and
    losses that need several of them share one pass of the network.
    """

    @abstractmethod
    def distribution(self, observation: Tensor) -> ActionDistribution:
        """That of the actions at ``observation`` ``[*B, O]``."""

    @final
    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``observation [*B, O], noise [*B, A] -> [*B, A], [*B, 1]``: action, log-probability."""
        self.check_inputs(observation, noise)
        return self.sample_from(self.distribution(observation), observation, noise)

    @final
    def sample_from(
        self, distribution: ActionDistribution, observation: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``sample``, from the distribution at the observation, which is known already."""
        # It refused an observation of another dtype than the parameters, so this one has theirs.
        require_dtype(self.name, "noise", noise, observation)
        return distribution.sample(noise)

    @final
    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """The log-density of an action: ``[*B, O], [*B, A] -> [*B, 1]``."""
        return self.log_prob_from(self.distribution(observation), observation, action)

    @final
    def log_prob_from(
        self, distribution: ActionDistribution, observation: Tensor, action: Tensor
    ) -> Tensor:
        """As ``log_prob``, from the distribution at the observation, which is known already."""
        require_input(self.name, "action", action, self.act_dim, observation)
        require_same_batch(self.name, "observation", observation, "action", action)
        return distribution.log_prob(action)

    @property
    def mode(self) -> Actor:
        """The actor that takes the action of the mean."""
        return ModeActor(self).set_keys(observation=self.in_keys[0], action=self.out_keys[0])


@final
class ModeActor(Actor):
    r"""Acts with the mode of another actor, without noise.

    .. math:: a = \arg\max_a \pi(a \mid s)

    For a squashed Gaussian it is the action of the mean. A loss on its action trains the actor, so
    ``DPGLoss(ModeActor(actor), critic)`` is the deterministic policy gradient of the mean.

    Args:
        actor: the actor.

    Raises:
        ConfigError: an actor without a density.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> actor = fp.GaussianActor(3, 2, hidden=(8,))
        >>> s = torch.randn(4, 3)
        >>> torch.equal(ModeActor(actor).raw(s, torch.empty(4, 0)), actor.raw(s, torch.zeros(4, 2)))
        True
    """

    def __init__(self, actor: DensityActor) -> None:
        require_instance(
            "ModeActor", "actor", actor, DensityActor, "Pass a GaussianActor or TanhGaussianActor."
        )
        super().__init__(actor.obs_dim, actor.act_dim, noise_shape=(0,))
        self.actor = actor

    @property
    def trained(self) -> nn.Module:
        """The actor itself."""
        return self.actor.trained

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, 0] -> [*B, A]``, not clipped."""
        self.check_inputs(observation, noise)
        return self.actor.distribution(observation).mode
