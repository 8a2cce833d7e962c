"""How an agent goes on learning in its environment: the published protocols, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowpolicy.errors import ConfigError
from flowpolicy.modules import Actor
from flowpolicy.train.experience import BalancedExperience, Experience, PooledExperience

Explore = Callable[[Actor, Tensor, torch.Generator], Tensor]
"""``(actor, observation [*B, O], generator) -> action [*B, A]``."""


def policy_action(actor: Actor, observation: Tensor, generator: torch.Generator) -> Tensor:
    """The actor's own action, ``[*B, O] -> [*B, A]``: its noise is all the exploration there is."""
    return actor.act(observation, actor.draw_noise(observation, generator))


def uniform_action(actor: Actor, observation: Tensor, generator: torch.Generator) -> Tensor:
    """A uniform action in [-1, 1], ``[*B, O] -> [*B, A]``, whatever the observation."""
    shape = (*observation.shape[:-1], actor.act_dim)
    draw = torch.rand(
        shape, generator=generator, dtype=observation.dtype, device=observation.device
    )
    return 2 * draw - 1


@dataclass(frozen=True)
class OnlineProtocol:
    """What happens in the online phase, where one update follows each environment step.

    Attributes:
        name: What ``TrainConfig.online_protocol`` calls it.
        experience: What batches are drawn from.
        warmup_steps: Environment steps before the first online update.
        warmup_action: Who acts in them; the policy does afterwards.
        offline: Whether there is an offline phase before.

    Example:
        >>> ONLINE_PROTOCOLS["qam"].warmup_steps
        5000
    """

    name: str
    experience: type[Experience]
    warmup_steps: int = 0
    warmup_action: Explore = policy_action
    offline: bool = True

    def refuse(self, *, offline_steps: int, online_steps: int, batch_size: int) -> None:
        """Refuses a run that this protocol cannot have.

        Raises:
            ConfigError: Says what to set.
        """
        if not self.offline and offline_steps:
            raise ConfigError(
                f"online_protocol {self.name!r} has no offline phase: set offline_steps to 0, got "
                f"{offline_steps}"
            )
        if online_steps <= self.warmup_steps:
            raise ConfigError(
                f"online_protocol {self.name!r} makes no update in its first {self.warmup_steps} "
                f"online steps: online_steps must be above that, got {online_steps}"
            )
        parts = self.experience.parts
        if batch_size % parts:
            raise ConfigError(
                f"online_protocol {self.name!r} puts every batch together from {parts} equal "
                f"parts: batch_size must be a multiple of that, got {batch_size}"
            )


_PUBLISHED = (
    # Park, Li, Levine 2025, arXiv 2502.02538, and its code: no warm-up, one buffer.
    OnlineProtocol("fql", PooledExperience),
    # The code of "Q-learning with adjoint matching": the pre-trained policy fills the buffer first.
    OnlineProtocol("qam", PooledExperience, warmup_steps=5000),
    # Ball et al. 2023, arXiv 2302.02948, as the FQL paper runs it for comparison.
    OnlineProtocol("rlpd", BalancedExperience, offline=False),
    # The same as the code of QAM runs it: uniform actions first.
    OnlineProtocol(
        "rlpd_qam",
        BalancedExperience,
        warmup_steps=5000,
        warmup_action=uniform_action,
        offline=False,
    ),
)

ONLINE_PROTOCOLS = {protocol.name: protocol for protocol in _PUBLISHED}
"""The protocols by the name that ``TrainConfig.online_protocol`` takes."""
