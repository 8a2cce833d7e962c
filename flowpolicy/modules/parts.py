"""What losses and weights are made of, told apart by what they can do."""

from __future__ import annotations

from flowpolicy.errors import ConfigError
from flowpolicy.functional.aggregation import Pessimistic
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.frozen import unfrozen
from flowpolicy.modules.target_network import TargetNetwork


def require_actor(owner: str, name: str, value: object) -> None:
    """Refuse what maps no (observation, noise) to an action."""
    part = unfrozen(value)
    if not isinstance(part.network if isinstance(part, TargetNetwork) else part, Actor):
        raise ConfigError(
            f"{owner}: {name} must be an Actor, got {_kind(value)}. Put a sampler around a "
            "velocity field, EulerSampler(field); derive a network of your own from fp.Actor."
        )


def require_field(owner: str, name: str, value: object) -> None:
    """Refuse what gives no velocity."""
    needs = ("velocity", "obs_dim", "act_dim")
    example = "a VelocityField(obs_dim, act_dim)"
    _require(owner, name, value, needs, what="a velocity field", example=example)


def require_critic(owner: str, name: str, value: object) -> None:
    """Refuse what does not value observations and actions."""
    needs = ("values", "obs_dim", "act_dim")
    what = "a critic or its target"
    _require(owner, name, value, needs, what=what, example="a CriticEnsemble")


def require_value(owner: str, name: str, value: object) -> None:
    """Refuse what does not value observations alone."""
    needs = ("values", "obs_dim")
    _require(owner, name, value, needs, what="a state value", example="a ValueNetwork")
    if hasattr(unfrozen(value), "act_dim"):
        raise ConfigError(
            f"{owner}: {name} must be a state value, got {_kind(value)}, which needs actions too. "
            "Pass a ValueNetwork."
        )


def require_aggregation(owner: str, value: object, critic: object) -> None:
    """Refuse what is no function, and pessimism over a single critic."""
    require_function(owner, "aggregation", value, "mean_value")
    size = getattr(unfrozen(critic), "size", None)
    if isinstance(value, Pessimistic) and value.rho > 0 and size == 1:
        raise ConfigError(
            f"{owner}: aggregation=Pessimistic({value.rho:g}) needs several critics to differ, but "
            "the ensemble has size 1. Build CriticEnsemble(..., size=10), or use mean_value."
        )


def require_function(owner: str, name: str, value: object, example: str) -> None:
    """Refuse what cannot be called, such as a name in place of the function."""
    if not callable(value):
        raise ConfigError(
            f"{owner}: {name} must be a function such as fp.{example}, got {value!r}. Names "
            "are for fp.agents.build and the command line."
        )


def _require(
    owner: str, name: str, value: object, attributes: tuple[str, ...], *, what: str, example: str
) -> None:
    part = unfrozen(value)
    if isinstance(part, TargetNetwork):  # it can do what it copies can do
        part = part.network
    missing = [attribute for attribute in attributes if not hasattr(part, attribute)]
    if missing:
        raise ConfigError(
            f"{owner}: {name} must be {what} with {', '.join(attributes)}; "
            f"{_kind(part)} has no {', '.join(missing)}. Pass {example}."
        )


def _kind(value: object) -> str:
    part = unfrozen(value)
    return f"{part.__name__} itself" if isinstance(part, type) else type(part).__name__
