"""The names of environments: OGBench's single-task data sets and every id of gymnasium."""

from __future__ import annotations

import difflib
from importlib.util import find_spec

from flowpolicy.errors import ConfigError, require_installed

DATASET_TYPES: dict[str, tuple[str, ...]] = {
    "pointmaze": ("navigate", "stitch"),
    "antmaze": ("navigate", "stitch", "explore"),
    "humanoidmaze": ("navigate", "stitch"),
    "antsoccer": ("navigate", "stitch"),
    "cube": ("play", "noisy"),
    "scene": ("play", "noisy"),
    "puzzle": ("play", "noisy"),
}
"""How the data sets of each OGBench family were collected; the middle part of their names."""


def is_single_task(name: str) -> bool:
    """Whether ``name`` is built like a single-task data set of OGBench.

    Example:
        >>> is_single_task("cube-single-play-singletask-task2-v0"), is_single_task("Pendulum-v1")
        (True, False)
    """
    return "singletask" in name.split("-")


def register_ogbench() -> None:
    """Import OGBench, which adds its environments to gymnasium's registry.

    Raises:
        ConfigError: OGBench is not installed.
    """
    for package in ("gymnasium", "ogbench"):
        require_installed("an OGBench environment", package, extra="ogbench")
    import ogbench  # noqa: F401  (imported for its registrations)


def single_task_ids() -> list[str]:
    """OGBench's own ids of its single-task environments with vector observations."""
    register_ogbench()
    import gymnasium

    return sorted(
        env_id
        for env_id in gymnasium.registry
        if is_single_task(env_id) and env_id.split("-")[0] in DATASET_TYPES
    )


def single_task_datasets() -> list[str]:
    """Every single-task data set of OGBench with vector observations, without and with task."""
    names = []
    for env_id in single_task_ids():
        parts = env_id.split("-")
        at = parts.index("singletask")
        names += ["-".join([*parts[:at], kind, *parts[at:]]) for kind in DATASET_TYPES[parts[0]]]
    return sorted(names)


def registration(name: str) -> object:
    """What a name stands for in gymnasium's registry; ``None`` where it has none."""
    import gymnasium

    return gymnasium.registry.get(name)


def unknown_environment(name: str) -> ConfigError:
    """The error for a name that no environment has, with the nearest names that exist."""
    import gymnasium

    known = [*(single_task_datasets() if find_spec("ogbench") else ()), *gymnasium.registry]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else "."
    return ConfigError(
        f"unknown environment {name!r}{hint} Known: OGBench's single-task data sets "
        "(such as 'cube-single-play-singletask-task2-v0') and every registered id of gymnasium."
    )
