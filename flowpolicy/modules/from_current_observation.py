"""An actor that bootstraps from where it stands."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from flowpolicy.modules.actor import Actor
from flowpolicy.modules.parts import require_actor


@final
class FromCurrentObservation(Actor):
    r"""Acts like another actor, but bootstraps from the *current* observation.

    .. math:: a' = \mu(s, z') \quad\text{instead of}\quad \mu(s', z')

    GFP's released code generates the clone's bootstrap action from ``s`` and values it at ``s'``;
    the paper's formula uses ``s'``. Wrap the flow with this to reproduce the code.

    Args:
        actor: the actor to ask.

    Raises:
        ConfigError: what is no actor.

    Example:
        >>> import torch
        >>> from flowpolicy.modules import OneStepActor
        >>> actor = OneStepActor(3, 2, hidden=(8,))
        >>> s, s_next, z = torch.zeros(1, 3), torch.ones(1, 3), torch.randn(1, 2)
        >>> torch.equal(FromCurrentObservation(actor).bootstrap(s, s_next, z), actor.act(s, z))
        True

    Source: the released code of Nguimatsia Tiofack et al., "Guided flow policy", ICLR 2026, arXiv
    2512.03973 (``target_use_next=False``).
    """

    def __init__(self, actor: Actor) -> None:
        require_actor("FromCurrentObservation", "actor", actor)
        super().__init__(actor.obs_dim, actor.act_dim, actor.noise_shape)
        self.actor = actor

    @property
    def trained(self) -> nn.Module:
        """What a loss on the actor's own action trains."""
        return self.actor.trained

    @property
    def mode(self) -> Actor:
        """That of the wrapped actor."""
        return self.actor.mode

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """That of the wrapped actor."""
        return self.actor.raw(observation, noise)

    def bootstrap(self, observation: Tensor, next_observation: Tensor, noise: Tensor) -> Tensor:
        """``observation, next_observation [*B, O], noise -> [*B, A]``; uses the former."""
        del next_observation
        return self.actor.bootstrap(observation, observation, noise)
