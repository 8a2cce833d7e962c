"""The published hyper-parameters, per method and family of environments."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from flowpolicy.agents import recipes
from flowpolicy.errors import unknown_name

DEFAULT_BATCH_SIZE = 256


@cache
def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    files = [f for f in resources.files(recipes).iterdir() if f.name.endswith(".toml")]
    return {f.name.removesuffix(".toml"): tomllib.loads(f.read_text("utf-8")) for f in files}


def family(env_id: str) -> str:
    """The family of an environment or data set: its name without task and version.

    Example:
        >>> family("cube-single-play-singletask-task2-v0"), family("pen-human-v1")
        ('cube-single-play', 'pen-human')
    """
    return re.sub(r"(-singletask(-task\d+)?)?-v\d+$", "", env_id)


def _table(name: str, env_id: str) -> dict[str, Any]:
    tables = _tables()
    if name not in tables:
        raise unknown_name("agent with presets", name, tables)
    if family(env_id) not in tables[name]:
        raise unknown_name(f"environment with a {name} preset", family(env_id), tables[name])
    return tables[name][family(env_id)]


def preset(name: str, env_id: str) -> dict[str, Any]:
    """The published options of a recipe on an environment, for ``agents.build``.

    Args:
        name: of the recipe.
        env_id: of an environment or data set, any task.

    Raises:
        ConfigError: no published value for this method or environment, with the nearest names.

    Example:
        >>> preset("fql", "cube-single-play-singletask-v0")
        {'alpha': 300.0, 'scale': 'unit'}

    Source: the papers and their code, as told at the head of ``recipes/<name>.toml``.
    """
    return {key: value for key, value in _table(name, env_id).items() if key != "batch_size"}


def preset_batch_size(name: str, env_id: str) -> int:
    """The published batch size, 256 almost everywhere.

    Example:
        >>> preset_batch_size("gfp", "cube-triple-play-singletask-v0")
        1024
    """
    return int(_table(name, env_id).get("batch_size", DEFAULT_BATCH_SIZE))
