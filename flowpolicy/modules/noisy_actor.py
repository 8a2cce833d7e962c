"""Noise on another actor's action."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from flowpolicy.errors import (
    ConfigError,
    require_dtype,
    require_not_negative,
    require_positive,
)
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.parts import require_actor


@final
class NoisyActor(Actor):
    r"""Adds clipped Gaussian noise to the action of an actor that draws none.

    .. math:: a = \mathrm{clip}_{[-1, 1]}\big(\pi(s) + \mathrm{clip}_{[-c, c]}(\sigma z)\big)

    Around a target actor it smooths a Bellman target, around the actor itself it explores. Its mode
    is the actor without the noise.

    Args:
        actor: a deterministic actor, or its target.
        std: the noise's standard deviation before clipping; 0 draws none.
        clip: the largest noise in each dimension.

    Raises:
        ConfigError: an actor that is random already, a negative ``std``, or a ``clip`` that is not
            above 0.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> actor = fp.DeterministicActor(3, 2, hidden=(8,))
        >>> noisy = NoisyActor(fp.TargetNetwork(actor), std=0.2, clip=0.5)
        >>> noisy.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])

    Source: Fujimoto, van Hoof, Meger, "Addressing function approximation error in actor-critic
    methods", 2018, arXiv 1802.09477.
    """

    def __init__(self, actor: Actor, std: float = 0.2, clip: float = 0.5) -> None:
        require_actor("NoisyActor", "actor", actor)
        if actor.is_random:
            raise ConfigError(
                f"NoisyActor: {type(actor).__name__} draws noise of its own already; pass an actor "
                "without any, such as a DeterministicActor or the mode of this one, actor.mode."
            )
        require_not_negative("NoisyActor", "std", std)
        super().__init__(actor.obs_dim, actor.act_dim, None if std else actor.noise_shape)
        self.actor = actor
        self.std = std
        self.clip = require_positive("NoisyActor", "clip", clip)

    @property
    def trained(self) -> nn.Module:
        """What a loss on the actor's own action trains."""
        return self.actor.trained

    @property
    def mode(self) -> Actor:
        """The actor without the noise."""
        return self.actor

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, A] -> [*B, A]``, not clipped."""
        self.check_inputs(observation, noise)
        action = self.actor.act(observation, self.actor.no_noise(observation))
        if not self.is_random:
            return action
        require_dtype(self.name, "noise", noise, action)
        return action + (self.std * noise).clamp(-self.clip, self.clip)
