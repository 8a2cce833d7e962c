"""What losses and weights are made of, told apart by what they can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, ShapeError, require_at_least, require_instance
from flowpolicy.functional.aggregation import Aggregation, Pessimistic
from flowpolicy.functional.scale import Scale
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.frozen import is_frozen, unfrozen
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.paths.draws import Law
from flowpolicy.paths.path import Path

if TYPE_CHECKING:
    from flowpolicy.modules.evaluated_batch import Critic
    from flowpolicy.modules.value_network import ValueNetwork


def require_actor(owner: str, name: str, value: object) -> None:
    """Refuse what maps no (observation, noise) to an action."""
    if not isinstance(_asked(value), Actor):
        raise ConfigError(
            f"{owner}: {name} must be an Actor, got {_kind(value)}. Put a sampler around a "
            "velocity field, EulerSampler(field); derive a network of your own from fp.Actor."
        )


def require_trained(owner: str, name: str, network: object) -> None:
    """Refuse what no optimizer would move, such as a target network in place of the online one."""
    moves = (
        isinstance(network, nn.Module)  # a frozen view is none
        and not isinstance(network, TargetNetwork)
        and any(parameter.requires_grad for parameter in network.parameters())
    )
    if not moves:
        view = "a frozen " if is_frozen(network) else ""
        raise ConfigError(
            f"{owner}: no parameter of {name} ({view}{_kind(network)}) requires gradient, so "
            "nothing would be trained. Pass the network itself, not its TargetNetwork or a frozen "
            "view of it."
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
    parameter = _parameter(critic)
    # What is built in inference mode hides it, and neither that nor a meta tensor is to learn.
    if torch.is_inference_mode_enabled() or parameter.is_meta:
        return
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


def require_aggregation(owner: str, value: Aggregation, critic: object) -> None:
    """Refuse what makes no value of those of the critics, and pessimism over a single one."""
    require_function(owner, "aggregation", value, "mean_value")
    size = getattr(unfrozen(critic), "size", None)
    if isinstance(value, Pessimistic) and value.rho > 0 and size == 1:
        raise ConfigError(
            f"{owner}: aggregation=Pessimistic({value.rho:g}) needs several critics to differ, but "
            "the ensemble has size 1. Build CriticEnsemble(..., size=10), or use mean_value."
        )
    if critic is not None:
        require_reduction(owner, "aggregation", value, size or 2, critic)


def require_reduction(owner: str, name: str, value: Aggregation, many: int, critic: object) -> None:
    """Refuse what mixes the rows of a batch, such as ``torch.min``; tried on ``many`` zeros."""
    require_function(owner, name, value, "mean_value")
    values = _parameter(critic).new_zeros(many, 3, 1)
    with torch.no_grad():
        reduced: object = value(values)
    if not isinstance(reduced, Tensor) or reduced.shape != (3, 1):
        raise ConfigError(
            f"{owner}: {name} must reduce the first dimension alone, of values [{many}, 3, 1] to "
            f"[3, 1], but gave {_shape(reduced)}. Pass fp.min_value, fp.mean_value, or one like "
            "them."
        )


def require_function(owner: str, name: str, value: object, example: str) -> None:
    """Refuse what cannot be called, such as a name in place of the function."""
    if not callable(value):
        raise ConfigError(
            f"{owner}: {name} must be a function such as fp.{example}, got {value!r}. Names "
            "are for fp.agents.build and the command line."
        )


def require_path(owner: str, path: object) -> None:
    """Refuse what is no path from noise to data."""
    hint = "Pass fp.LinearPath() or fp.AffinePath(schedule)."
    require_instance(owner, "path", path, Path, hint)


def require_time(owner: str, time: object) -> None:
    """Refuse what draws no time."""
    require_instance(owner, "time", time, Law, "Pass a law of the time such as fp.UniformTime().")


def checked(
    asked: object, method: str, result: Tensor, shape: Sequence[int], *, ensemble: bool = False
) -> Tensor:
    """What a part of one's own gave, refused where it is of another shape and might broadcast.

    Shapes are Python numbers, so this costs nothing inside a compiled graph.

    Args:
        asked: whose method.
        method: that was called.
        result: of it.
        shape: that it must have.
        ensemble: whether an axis ``E`` of any size comes before.
    """
    if (result.shape[1:] if ensemble else result.shape) != tuple(shape):
        expected = ", ".join(["E"] * ensemble + [str(size) for size in shape])
        advice = (
            "A single critic keeps the axis of the ensemble, which unsqueeze(0) adds."
            if ensemble
            else "Per-sample scalars keep a last dimension of 1, which unsqueeze(-1) adds."
        )
        raise ShapeError(
            f"{_kind(_asked(asked))}: {method} must give [{expected}] here, got "
            f"{list(result.shape)}. {advice}"
        )
    return result


def values_of(critic: Critic, observation: Tensor, action: Tensor) -> Tensor:
    """``observation [*B, O], action [*B, A] -> [E, *B, 1]``, checked."""
    values = critic.values(observation, action)
    return checked(critic, "values", values, (*observation.shape[:-1], 1), ensemble=True)


def value_of(
    critic: Critic, aggregation: Aggregation, observation: Tensor, action: Tensor
) -> Tensor:
    """``observation [*B, O], action [*B, A] -> [*B, 1]``, aggregated over the critics."""
    return aggregation(values_of(critic, observation, action))


def state_values_of(value: ValueNetwork | TargetNetwork, observation: Tensor) -> Tensor:
    """``observation [*B, O] -> [*B, 1]``, checked."""
    return checked(value, "values", value.values(observation), (*observation.shape[:-1], 1))


def scale_of(owner: str, scale: Scale, values: Tensor) -> Tensor:
    """``lambda`` of values ``[*B, 1]``: one number, through which no gradient flows, checked."""
    result: object = scale(values.detach())
    if not isinstance(result, Tensor) or result.shape != ():
        raise ShapeError(
            f"{owner}: scale must give one number [] for the whole batch, got {_shape(result)}. "
            "Pass fp.unit_scale, fp.inverse_mean_abs, or one like them."
        )
    return result


def _require(
    owner: str, name: str, value: object, attributes: tuple[str, ...], *, what: str, example: str
) -> None:
    part = _asked(value)
    missing = [attribute for attribute in attributes if not hasattr(part, attribute)]
    if missing:
        raise ConfigError(
            f"{owner}: {name} must be {what} with {', '.join(attributes)}; "
            f"{_kind(part)} has no {', '.join(missing)}. Pass {example}."
        )


def _asked(value: object) -> object:
    """The network that answers behind a frozen view or a target: they can do what it can do."""
    part = unfrozen(value)
    return part.network if isinstance(part, TargetNetwork) else part


def _parameter(network: object) -> Tensor:
    """One of its parameters, for its dtype and device."""
    part = unfrozen(network)
    parameters = part.parameters() if isinstance(part, nn.Module) else iter(())
    return next(parameters, torch.empty(0))


def _shape(value: object) -> list[int] | type:
    return list(value.shape) if isinstance(value, Tensor) else type(value)


def _kind(value: object) -> str:
    part = unfrozen(value)
    return f"{part.__name__} itself" if isinstance(part, type) else type(part).__name__
