"""Recipes by name, for command lines and configuration files."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from flowpolicy.agents import recipes
from flowpolicy.agents.agent import Agent
from flowpolicy.errors import ConfigError, FlowPolicyError, unknown_name
from flowpolicy.functional import (
    Pessimistic,
    first_value,
    inverse_mean_abs,
    mean_value,
    min_value,
    unit_scale,
)


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(recipes.__path__, f"{recipes.__name__}."):
        yield importlib.import_module(module.name)


RECIPES: dict[str, Callable[..., Agent]] = {
    name: value
    for module in _modules()
    for name, value in vars(module).items()
    if inspect.isfunction(value)
    and value.__module__ == module.__name__
    and not name.startswith("_")
}
"""The published methods, as found in ``agents/recipes/``: ``name -> function(obs_dim, act_dim,
**options)``."""

NAMED_OPTIONS: dict[str, Mapping[str, Any]] = {
    "aggregation": {
        "first": first_value,
        "mean": mean_value,
        "min": min_value,
        "pessimistic": Pessimistic(0.5),
    },
    "scale": {"unit": unit_scale, "inverse_mean_abs": inverse_mean_abs},
}
for _module in _modules():
    NAMED_OPTIONS.update(getattr(_module, "NAMED_OPTIONS", {}))
"""Options whose values are objects: ``option -> {name: object}``."""


def recipe_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a recipe: its keyword arguments by name.

    Args:
        name: of the recipe, a key of ``RECIPES``.

    Raises:
        ConfigError: an unknown recipe, with the nearest known.

    Example:
        >>> recipe_options("fql")["flow_steps"].default
        10
    """
    if name not in RECIPES:
        raise unknown_name("agent", name, RECIPES)
    parameters = inspect.signature(RECIPES[name]).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def _object_named(recipe: str, option: str, value: Any) -> Any:
    if isinstance(value, list):  # JSON knows no tuples
        return tuple(value)
    names = NAMED_OPTIONS.get(option)
    if names is None or not isinstance(value, str):
        return value
    if value not in names:
        raise unknown_name(f"{option} of {recipe}", value, names)
    return names[value]


def build(name: str, obs_dim: int, act_dim: int, **options: Any) -> Agent:
    """An agent by the name of its recipe, with options as numbers and names.

    Args:
        name: of the recipe, a key of ``RECIPES``.
        obs_dim: ``O``.
        act_dim: ``A``.
        options: keyword arguments of the recipe as they stand in JSON: objects by the names in
            ``NAMED_OPTIONS``, lists for tuples.

    Raises:
        ConfigError: an unknown recipe, option or name, with the nearest known; or a value that the
            recipe cannot compute with, such as a text in a number's place.

    Example:
        >>> build("fql", 3, 2, hidden=(16,), aggregation="min").loss.losses[0].aggregation.__name__
        'min_value'
    """
    known = recipe_options(name)
    resolved = {}
    for option, value in options.items():
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
        resolved[option] = _object_named(name, option, value)
    try:
        return RECIPES[name](obs_dim, act_dim, **resolved)
    except FlowPolicyError:
        raise
    except (TypeError, ValueError) as error:  # of whatever met the value: Python, PyTorch
        told = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise ConfigError(f"{name} cannot be built with {told}: {error}") from error
