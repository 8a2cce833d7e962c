"""What the losses of an agent have to satisfy together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from flowpolicy.errors import ConfigError, require_at_least, unknown_name
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.frozen import unfrozen


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
