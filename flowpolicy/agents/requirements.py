"""What the losses of an agent have to satisfy together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from tensordict import TensorDictBase
from torch import nn

from flowpolicy.errors import ConfigError, require_at_least, unknown_name
from flowpolicy.losses.flow_matching import FlowMatchingLoss
from flowpolicy.losses.memoryless_loss import MemorylessLoss
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.frozen import unfrozen
from flowpolicy.modules.parts import require_actor
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.paths.linear import LinearPath
from flowpolicy.samplers.guided import GuidedSampler
from flowpolicy.samplers.memoryless_sde import MemorylessSDE


def some_in_every_update(every: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """Losses that wait, and how long; refuses what leaves an update without any loss."""
    for name, n in every.items():
        if name not in names:
            raise unknown_name("loss in every", name, names)
        require_at_least("Agent", f"every[{name!r}]", n, 1)
    if all(every.get(name, 1) > 1 for name in names):
        raise ConfigError(
            f"Agent: every={dict(every)} leaves updates without any loss. At least one loss must "
            "count in every update."
        )
    return dict(every)


def require_learners(losses: SumLoss) -> None:
    """Refuses a learned coefficient that nothing learns."""
    trained = {id(network) for _, network in losses.trained()}
    for each in losses.losses:
        learned = each.learned_coefficient
        if learned is not None and id(unfrozen(learned)) not in trained:
            raise ConfigError(
                f"Agent: the coefficient of {each.name!r} is a LearnedCoefficient that no loss "
                "moves. Add DualLoss(loss, limit=...), or give the loss a number."
            )


def require_straight_paths(losses: SumLoss, actors: Iterable[Actor]) -> None:
    """Refuses fields of another path where formulas hold on the straight one alone."""
    others = {
        id(each.field): each
        for each in losses.losses
        if isinstance(each, FlowMatchingLoss) and not isinstance(each.path, LinearPath)
    }
    for name, user in _bound_to_straight_paths(losses, actors):
        for part in user.modules():
            loss = others.get(id(part.source if isinstance(part, TargetNetwork) else part))
            if loss is not None:
                raise ConfigError(
                    f"Agent: {name} needs a field of the straight path, but {loss.name!r} trains "
                    f"its field on {type(loss.path).__name__}. Give that loss path=LinearPath()."
                )


def _bound_to_straight_paths(
    losses: SumLoss, actors: Iterable[Actor]
) -> Iterator[tuple[str, nn.Module]]:
    """What takes the field that it holds for one of ``LinearPath``, with its name."""
    roots: list[nn.Module] = [*actors]
    for each in losses.losses:
        if isinstance(each, MemorylessLoss):
            yield type(each).__name__, each.sde
        roots += [each.network, *(network for _, network in each.frozen_networks())]
    for part in (part for root in roots for part in root.modules()):
        if isinstance(part, MemorylessSDE | GuidedSampler):
            yield part.name, part


def all_actors(policy: Actor, others: Mapping[str, Actor]) -> dict[str, Actor]:
    """The policy and the other actors by name; refuses what is no actor, or a second policy."""
    if others.get("policy", policy) is not policy:
        raise ConfigError(
            "Agent: actors has another 'policy' than the one that is deployed. Give it another "
            "name."
        )
    actors = {"policy": policy, **others}
    for name, actor in actors.items():
        require_actor("Agent", name, actor)
    return actors


def require_update(owner: str, batch: object) -> None:
    """Refuses a batch that is no TensorDict, such as a dict, and updates in inference mode."""
    if not isinstance(batch, TensorDictBase):
        raise ConfigError(
            f"{owner}.update: batch must be a TensorDict, got {type(batch).__name__}. Use "
            "TensorDict(batch, batch_size=[...])."
        )
    if torch.is_inference_mode_enabled():
        raise ConfigError(
            f"{owner}.update: nothing is learned within torch.inference_mode(). Leave it for the "
            "update, or act in it alone."
        )


def require_names(kind: str, names: Iterable[str], advice: str) -> None:
    """Refuses names under which ``nn.ModuleDict`` holds nothing, such as those of its methods.

    Args:
        kind: what is named, with its article.
        names: all of them.
        advice: how another name is given.
    """
    for name in names:
        if not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ConfigError(
                f"Agent: {kind} is called {name!r}, which PyTorch's modules cannot hold: it is "
                f"empty, has a dot, or is the name of an attribute of theirs. {advice}"
            )
