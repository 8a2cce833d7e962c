"""An agent from its description in a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flowpolicy import agents
from flowpolicy.agents import Agent
from flowpolicy.errors import unknown_name


def recipe_options(agent: str) -> dict[str, inspect.Parameter]:
    """The options of a recipe: its keyword arguments by name.

    Args:
        agent: Name of the recipe.

    Raises:
        ConfigError: There is no such recipe; the message has the nearest names.

    Example:
        >>> recipe_options("fql")["flow_steps"].default
        10
    """
    if agent not in agents.RECIPES:
        raise unknown_name("agent", agent, agents.RECIPES)
    parameters = inspect.signature(agents.RECIPES[agent]).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def build_agent(agent: str, obs_dim: int, act_dim: int, options: Mapping[str, Any]) -> Agent:
    """Calls the recipe named ``agent`` with options as they stand in JSON.

    Args:
        agent: Name of the recipe.
        obs_dim: Size O of an observation.
        act_dim: Size A of an action.
        options: Keyword arguments of the recipe; lists are taken as tuples, objects by their names.

    Raises:
        ConfigError: The recipe or one of the options does not exist, or has no such value.

    Example:
        >>> build_agent("fql", 3, 2, {"hidden": [8, 8], "aggregation": "min"}).policy.act_dim
        2
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return agents.build(agent, obs_dim, act_dim, **values)
