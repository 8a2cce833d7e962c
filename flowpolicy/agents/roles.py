"""What an agent owns, and what each network is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import nn

from flowpolicy.errors import ConfigError
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.target_network import TargetNetwork


def owned_networks(
    loss: SumLoss, actors: Iterable[Actor], named: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """Every network behind the losses and the actors, each once, by role.

    A network whose parameters all belong to others already (a sampler around a field, best-of-N
    around a flow and a critic) is a view of those and gets no role; of one that holds others' and
    its own (an edit around a flow that no loss trains), the parts get roles. Smaller modules
    therefore come first. Target networks are no networks of their own here.

    Raises:
        ConfigError: two networks in one role.
    """
    candidates: list[tuple[str, nn.Module]] = list(loss.trained())
    for each in loss.losses:
        candidates += [
            (role, network)
            for role, network in each.frozen_networks()
            if not isinstance(network, TargetNetwork)
        ]
    candidates += [("policy", actor) for actor in actors]
    candidates.sort(key=lambda item: sum(1 for _ in item[1].modules()))

    owned: dict[str, nn.Module] = dict(named)
    covered = {id(p) for network in owned.values() for p in network.parameters()}
    covered |= {id(p) for target in all_targets(loss, actors) for p in target.parameters()}
    trained_roles = {id(network): role for role, network in reversed(list(loss.trained()))}
    for role, network in _uncovered(candidates, trained_roles, covered):
        if role in owned:
            raise ConfigError(
                f"Agent: two different networks are called {role!r} "
                f"({type(owned[role]).__name__} and {type(network).__name__}). "
                f"Name them with networks={{'my_{role}': ..., ...}}."
            )
        owned[role] = network
    return owned


def _uncovered(
    candidates: Iterable[tuple[str, nn.Module]], trained_roles: Mapping[int, str], covered: set[int]
) -> Iterator[tuple[str, nn.Module]]:
    """The candidates, or their parts, that have parameters outside ``covered``, which grows."""
    for fallback, network in candidates:
        role = trained_roles.get(id(network), fallback)
        known = [id(p) in covered for p in network.parameters()]
        own = [id(p) in covered for p in network.parameters(recurse=False)]
        if all(known):
            continue
        if not any(known) or not all(own):
            yield role, network
            covered |= {id(p) for p in network.parameters()}
        else:
            yield from _uncovered(network.named_children(), trained_roles, covered)


def read_with_buffers(loss: SumLoss, owned: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What losses only read and that holds buffers of its own, such as statistics around an actor.

    Args:
        loss: all losses of the agent.
        owned: its networks and targets.
    """
    known = {id(buffer) for buffer in owned.buffers()}
    for each in loss.losses:
        for i, (name, network) in enumerate(each.frozen_networks()):
            if any(id(buffer) not in known for buffer in network.buffers()):
                yield f"{each.name}_{name}_{i}", network


def owned_targets(
    loss: SumLoss, actors: Iterable[Actor], networks: Mapping[str, nn.Module]
) -> dict[str, TargetNetwork]:
    """Every target network behind the losses and the actors, in the role of what it follows.

    Raises:
        ConfigError: a target of a network that is not the agent's, or two targets of one network.
    """
    roles = {id(network): role for role, network in networks.items()}
    owned: dict[str, TargetNetwork] = {}
    for target in all_targets(loss, actors):
        role = roles.get(id(target.source))
        if role is None:
            raise ConfigError(
                f"Agent: a TargetNetwork follows a {type(target.source).__name__} that no loss "
                "trains. Build it from the network that is passed to the loss; where networks "
                "share a part, name each: Agent(..., networks={'critic': critic})."
            )
        if role in owned:
            raise ConfigError(
                f"Agent: two TargetNetworks follow {role!r}. Build one and pass the same object to "
                "every loss, weight and actor that reads it."
            )
        owned[role] = target
    return owned


def all_targets(loss: SumLoss, actors: Iterable[Actor]) -> list[TargetNetwork]:
    """The target networks that losses read or actors ask, each once."""
    inside = [m for actor in actors for m in actor.modules() if isinstance(m, TargetNetwork)]
    return list(dict.fromkeys([*loss.target_networks(), *inside]))
