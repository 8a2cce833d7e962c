"""What is generated: the data sets with a scripted expert, and everything their bytes depend on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from flowpolicy.errors import ConfigError, unknown_name

_MAZES = ("medium", "large", "giant", "teleport")
_CUBES = ("single", "double", "triple", "quadruple")
_PUZZLES = ("3x3", "4x4", "4x5", "4x6")

GENERATED_DATASETS: tuple[str, ...] = (
    *(f"pointmaze-{size}-navigate" for size in _MAZES),
    *(f"{scene}-{kind}" for scene in (f"cube-{n}" for n in _CUBES) for kind in ("play", "noisy")),
    *(f"scene-{kind}" for kind in ("play", "noisy")),
    *(f"puzzle-{size}-{kind}" for size in _PUZZLES for kind in ("play", "noisy")),
)
"""The data sets whose environments bring a scripted expert."""


@dataclass(frozen=True)
class Settings:
    """Everything that an episode depends on, besides its number.

    Args:
        dataset: a name of `GENERATED_DATASETS`.
        seed: the seed of the whole data set.
        episode_length: rows per episode; one fewer of them are transitions.
        noise: maze: standard deviation per action dimension; play: of the plan, in units of one
            full action; noisy: the largest per-episode standard deviation.
        noise_smoothing: play: width in steps of the filter over the plan's noise, else 0.
        min_norm: noisy: least length of the expert's remaining way, which sets its slowest motion,
            else 0.
        random_actions: probability that an action is drawn uniformly instead.
    """

    dataset: str
    seed: int
    episode_length: int
    noise: float
    noise_smoothing: float
    min_norm: float
    random_actions: float

    @property
    def env_id(self) -> str:
        """OGBench's id of the goal-conditioned environment.

        Example:
            >>> resolve("cube-single-play", seed=0).env_id
            'cube-single-v0'
        """
        return self.dataset.rpartition("-")[0] + "-v0"

    @property
    def kind(self) -> str:
        """``navigate``, ``play`` or ``noisy``."""
        return self.dataset.rpartition("-")[2]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def dataset_name(name: str) -> str:
    """The data set behind any of its names.

    Raises:
        ConfigError: there is no scripted expert for it.

    Example:
        >>> dataset_name("cube-single-play-singletask-task2-v0")
        'cube-single-play'
    """
    base = re.sub(r"(-singletask(-task\d+)?)?(-v0)?$", "", name)
    if base not in GENERATED_DATASETS:
        raise unknown_name("data set to generate", name, GENERATED_DATASETS)
    return base


def resolve(
    name: str,
    *,
    seed: int,
    episode_length: int | None = None,
    noise: float | None = None,
    noise_smoothing: float | None = None,
    min_norm: float | None = None,
    random_actions: float | None = None,
) -> Settings:
    """Fill in what OGBench's published data sets use, and refuse what has no effect.

    Raises:
        ConfigError: an unknown data set, a value out of range, or an option of another kind.

    Example:
        >>> resolve("puzzle-3x3-noisy", seed=0).random_actions
        0.2
    """
    dataset = dataset_name(name)
    kind = dataset.rpartition("-")[2]
    puzzle = dataset.startswith("puzzle")
    defaults: dict[str, dict[str, float]] = {
        "navigate": {"noise": 0.5},
        "play": {"noise": 0.1, "noise_smoothing": 0.5, "random_actions": 0.0},
        "noisy": {"noise": 0.1, "min_norm": 0.4, "random_actions": 0.2 if puzzle else 0.1},
    }
    given = {
        "noise": noise,
        "noise_smoothing": noise_smoothing,
        "min_norm": min_norm,
        "random_actions": random_actions,
    }
    values: dict[str, float] = {}
    for option, value in given.items():
        if value is not None and option not in defaults[kind]:
            raise ConfigError(
                f"generate: {option} has no effect on {dataset!r}; options of {kind!r} data are "
                f"{', '.join(defaults[kind])}. Leave it out."
            )
        values[option] = defaults[kind].get(option, 0.0) if value is None else float(value)
        if not 0 <= values[option] < float("inf"):
            raise ConfigError(f"generate: {option} must be finite and at least 0, got {value!r}.")
    if values["random_actions"] > 1:
        raise ConfigError(
            "generate: random_actions is a probability and must be at most 1, got "
            f"{random_actions!r}."
        )
    length = (2001 if "giant" in dataset else 1001) if episode_length is None else episode_length
    if length < 2:
        raise ConfigError(
            f"generate: episode_length must be at least 2 rows (one transition), got {length!r}."
        )
    if seed < 0:
        raise ConfigError(f"generate: seed must be at least 0, got {seed!r}.")
    return Settings(dataset, seed, length, **values)
