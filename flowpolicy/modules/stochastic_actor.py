"""Actors whose actions have a probability."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from flowpolicy.modules.actor import Actor


class StochasticActor(Actor):
    r"""An actor that also tells the log-probability of what it draws.

    .. math:: a = \mu(s, z),\qquad \log\pi(a \mid s),\qquad z \sim \mathcal N(0, I)

    Still a function of observation and noise, so every loss of an actor takes it; ``EntropyLoss``
    needs the probability besides. An implementation gives ``sample``; ``raw`` is its first result.
    """

    @abstractmethod
    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The action ``[*B, A]`` before clipping, and the log-probability of its draw ``[*B, 1]``.

        ``observation [*B, O], noise [*B, *noise_shape]``; both carry gradient to the parameters
        through the draw (reparameterised).
        """

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, *noise_shape] -> [*B, A]``, not clipped."""
        return self.sample(observation, noise)[0]
