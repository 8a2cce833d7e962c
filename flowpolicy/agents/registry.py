"""Recipes by name, for command lines and configuration files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.bam import bam
from flowpolicy.agents.bc import bc
from flowpolicy.agents.blend import Blend
from flowpolicy.agents.cgql import cgql, cgql_linex, cgql_mse
from flowpolicy.agents.dac import dac
from flowpolicy.agents.dsrl import dsrl
from flowpolicy.agents.fawac import fawac
from flowpolicy.agents.fbrac import fbrac
from flowpolicy.agents.fedit import fedit
from flowpolicy.agents.flow_bc import flow_bc
from flowpolicy.agents.fql import fql
from flowpolicy.agents.gfp import gfp
from flowpolicy.agents.ifql import ifql
from flowpolicy.agents.iql import iql
from flowpolicy.agents.iql_ddpg_bc import iql_ddpg_bc
from flowpolicy.agents.qam import qam
from flowpolicy.agents.qam_edit import qam_edit
from flowpolicy.agents.qam_fql import qam_fql
from flowpolicy.agents.qc import qc
from flowpolicy.agents.qsm import qsm
from flowpolicy.agents.rebrac import rebrac
from flowpolicy.agents.rlpd import rlpd
from flowpolicy.agents.sac import sac
from flowpolicy.agents.td3_bc import td3_bc
from flowpolicy.errors import unknown_name
from flowpolicy.functional import (
    Pessimistic,
    first_value,
    inverse_mean_abs,
    max_value,
    mean_value,
    min_value,
    unit_scale,
)
from flowpolicy.modules import FromCurrentObservation
from flowpolicy.samplers import DDPMSampler, JumpSampler

RECIPES: dict[str, Callable[..., Agent]] = {
    "bam": bam,
    "bc": bc,
    "cgql": cgql,
    "cgql_linex": cgql_linex,
    "cgql_mse": cgql_mse,
    "dac": dac,
    "dsrl": dsrl,
    "fawac": fawac,
    "fbrac": fbrac,
    "fedit": fedit,
    "flow_bc": flow_bc,
    "fql": fql,
    "gfp": gfp,
    "ifql": ifql,
    "iql": iql,
    "iql_ddpg_bc": iql_ddpg_bc,
    "qam": qam,
    "qam_edit": qam_edit,
    "qam_fql": qam_fql,
    "qc": qc,
    "qsm": qsm,
    "rebrac": rebrac,
    "rlpd": rlpd,
    "sac": sac,
    "td3_bc": td3_bc,
}
"""The published methods: ``name -> function(obs_dim, act_dim, **options)``."""

_BLENDS = {
    "actor": Blend(("actor",)),
    "flow": Blend(("flow",)),
    "vabc": Blend(("flow",)),  # the authors' word for the flow
    "mean": Blend(("actor", "flow"), mean_value),
    "min": Blend(("actor", "flow"), min_value),
    "max": Blend(("actor", "flow"), max_value),
}

NAMED_OPTIONS: dict[str, Mapping[str, Any]] = {
    "sampler": {"ddpm": DDPMSampler, "jump": JumpSampler},
    "aggregation": {
        "first": first_value,
        "mean": mean_value,
        "min": min_value,
        "pessimistic": Pessimistic(0.5),
    },
    "scale": {"unit": unit_scale, "inverse_mean_abs": inverse_mean_abs},
    "bootstrap": _BLENDS,
    "reference": _BLENDS,
    "bootstrap_flow": {"current": FromCurrentObservation},
}
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
        ConfigError: an unknown recipe, option or name, with the nearest known.

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
    return RECIPES[name](obs_dim, act_dim, **resolved)
