"""What losses and weights are made of, told apart by what they can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowpolicy.errors import ConfigError, require_at_least
from flowpolicy.functional.aggregation import Pessimistic
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.frozen import unfrozen
from flowpolicy.modules.target_network import TargetNetwork

if TYPE_CHECKING:
    from flowpolicy.modules.evaluated_batch import Critic


def require_actor(owner: str, name: str, value: object) -> None:
    """Refuse what maps no (observation, noise) to an action."""
    part = unfrozen(value)
    if not isinstance(part.network if isinstance(part, TargetNetwork) else part, Actor):
        raise ConfigError(
            f"{owner}: {name} must be an Actor, got {_kind(value)}. Put a sampler around a "
            "velocity field, EulerSampler(field); derive a network of your own from fp.Actor."
        )


def require_noise_like_action(owner: str, name: str, actor: Actor) -> None:
    """Refuse an actor whose noise another network could not propose as it does an action."""
    if actor.noise_shape != (actor.act_dim,):
        raise ConfigError(
            f"{owner}: the {name}'s noise must be as wide as its action, ({actor.act_dim},), but "
            f"its noise_shape is {actor.noise_shape}."
        )


def require_chunks(owner: str, actor: Actor, horizon: int, advice: str) -> int:
    """Refuse a horizon into whose steps the actor's action cannot be cut."""
    if actor.act_dim % require_at_least(owner, "horizon", horizon, 1):
        raise ConfigError(
            f"{owner}: the action dimension {actor.act_dim} of {actor.name} is not a multiple of "
            f"horizon={horizon}. {advice}"
        )
    return horizon


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


def require_noisy_critic(owner: str, name: str, value: object) -> None:
    """Refuse what does not value noisy actions at their time."""
    needs = ("values_at", "obs_dim", "act_dim")
    what = "a critic of noisy actions"
    _require(owner, name, value, needs, what=what, example="a NoisyCriticEnsemble")


def require_predictor(owner: str, name: str, value: object) -> None:
    """Refuse what predicts no noise."""
    needs = ("predict", "steps", "obs_dim", "act_dim")
    example = "a NoisePredictor(obs_dim, act_dim)"
    _require(owner, name, value, needs, what="a noise predictor", example=example)


def require_same_size(owner: str, **critics: object) -> None:
    """Refuse ensembles of other sizes where member learns from member."""
    sizes = {name: getattr(unfrozen(critic), "size", None) for name, critic in critics.items()}
    if len(set(sizes.values())) > 1:
        told = " and ".join(f"{name} has size {size}" for name, size in sizes.items())
        raise ConfigError(f"{owner}: member learns from member, but {told}. Build them alike.")


def require_differentiable(
    owner: str, name: str, critic: Critic, values: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Refuse critics whose value, by ``(observation, action) -> [*B, 1]``, hides the action."""
    parameter = next(critic.parameters(), torch.empty(0))
    observation, action = (
        parameter.new_zeros(1, critic.obs_dim),
        parameter.new_zeros(1, critic.act_dim),
    )
    with torch.enable_grad():
        action.requires_grad_()
        value = values(observation.detach(), action)
        gradient = (
            torch.autograd.grad(value.sum(), action, allow_unused=True)[0]
            if value.requires_grad
            else None
        )
    if gradient is None:
        raise ConfigError(
            f"{owner}: {name} must be differentiable in the action, but no gradient of "
            f"{_kind(critic)} reaches it. Its values must come from the action by "
            "operations of torch, outside torch.no_grad() and without detach()."
        )


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
