"""From a flattened chunk of actions to one with a time axis."""

from __future__ import annotations

from typing import final

from einops import rearrange
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase

from flowpolicy.modules.actor import Actor
from flowpolicy.modules.parts import require_actor, require_chunks


@final
class ChunkPolicy(TensorDictModuleBase):
    r"""Gives the flattened chunk of an actor its time axis back.

    .. math:: [*B,\ h A] \rightarrow [*B,\ h,\ A]

    That is what TorchRL's ``MultiStepActorWrapper`` plays step by step.

    Args:
        actor: an actor whose action is a flattened chunk.
        horizon: ``h``, the number of environment steps in a chunk.

    Raises:
        ConfigError: what is no actor, or an action dimension that is no multiple of ``horizon``.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from flowpolicy.modules import OneStepActor
        >>> policy = ChunkPolicy(OneStepActor(3, act_dim=10, hidden=(8,)), horizon=5)
        >>> policy(TensorDict(observation=torch.zeros(4, 3), batch_size=[4]))["action"].shape
        torch.Size([4, 5, 2])
    """

    def __init__(self, actor: Actor, horizon: int) -> None:
        super().__init__()
        require_actor("ChunkPolicy", "actor", actor)
        advice = "Build the actor with act_dim = horizon * (the environment's)."
        self.actor = actor
        self.horizon = require_chunks("ChunkPolicy", actor, horizon, advice)

    @property
    def in_keys(self) -> list[NestedKey]:
        """The actor's."""
        return self.actor.in_keys

    @property
    def out_keys(self) -> list[NestedKey]:
        """The actor's."""
        return self.actor.out_keys

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``action`` ``[*B, h, A]``."""
        chunk = self.actor(tensordict.copy()).get(self.out_keys[0])
        action = rearrange(chunk, "... (h a) -> ... h a", h=self.horizon)
        return tensordict.set(self.out_keys[0], action)
