"""What the losses of an actor share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tensordict import NestedKey
from torch import nn

from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.modules.parts import require_actor, require_trained
from flowpolicy.paths.draws import Draw


class ActorLoss(Loss):
    """Trains an actor through its action at the batch's observation and noise.

    It registers and trains ``actor.trained``, which is the actor itself unless that holds a part
    fixed, and asks the whole actor.

    Args:
        actor: the policy to train.
        name: reported as ``loss_<name>``.
        coefficient: the loss's factor.
        reduction: over the batch.

    Raises:
        ConfigError: what is no actor or cannot be trained, a negative coefficient, or an unknown
            reduction.
    """

    role = "actor"

    def __init__(
        self,
        actor: Actor,
        name: str,
        *,
        coefficient: float | LearnedCoefficient,
        reduction: Reduction,
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        require_actor(type(self).__name__, "actor", actor)
        require_trained(type(self).__name__, "actor", actor.trained)
        self.actor_network = actor.trained
        self._actor = (actor,)  # in a tuple: asked, not registered as a submodule

    @property
    def actor(self) -> Actor:
        """Whose action the loss is of."""
        return self._actor[0]

    @property
    def network(self) -> nn.Module:
        """What of the actor is trained."""
        return self.actor_network

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """The observation."""
        return (self.tensor_keys.observation,)

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The actor's noise, if it has any."""
        return {self.tensor_keys.noise: self.actor.noise_draw} if self.actor.is_random else {}

    def frozen_networks(self) -> Iterator[tuple[str, nn.Module]]:
        """What the loss holds frozen, and the actor where it holds a part fixed."""
        yield from super().frozen_networks()
        if self.actor.trained is not self.actor:
            yield "actor", self.actor
