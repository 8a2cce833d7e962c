"""What a training run is: one frozen dataclass, written beside its results."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowpolicy.agents import recipe_options
from flowpolicy.agents.registry import NAMED_OPTIONS
from flowpolicy.checkpoint.device import parse_device
from flowpolicy.errors import ConfigError, unknown_name
from flowpolicy.evaluate import protocol
from flowpolicy.train.online import ONLINE_PROTOCOLS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that determines a run.

    Attributes:
        agent: Recipe, one of ``fp.agents.RECIPES``.
        env: Data set and environment, by the data set's name; with data of your own, the
            environment to evaluate in, also by its id in gymnasium.
        options: Keyword arguments of the recipe.
        offline_steps: Number of gradient steps on the data.
        online_steps: Number of environment steps after that, each followed by a gradient step.
        online_protocol: How these are done, one of
            ``flowpolicy.train.ONLINE_PROTOCOLS``: fql, qam, rlpd or rlpd_qam.
        batch_size: Transitions per update.
        n_step: Steps of reward that a target sums; without effect where no loss reads rewards.
        horizon: Steps of an action chunk, which the policy chooses together and plays one after
            the other.
        discount: Discount factor per environment step.
        seed: Of initial weights, batches and noise.
        normalize_observations: Subtract the data's mean and divide by its standard deviation; both
            become part of the saved policy.
        protocol: By whose rules the run is evaluated and scored: fql, fql_d4rl, gfp, gfp_d4rl or
            qam. They say whether Gaussian policies are played at their mode or sampled, and which
            evaluations make the score.
        eval_every: Updates between evaluations; 0 evaluates only at the end.
        eval_episodes: Episodes of one evaluation.
        eval_actors: Which of the agent's actors are evaluated; those it lacks are refused.
        eval_workers: Processes that run episodes; 0 runs them in the training process.
        eval_seed: Of the episodes' starts and noise, the same at every evaluation.
        eval_at_start: Evaluate the untrained policy too.
        max_episode_steps: Ends longer episodes; ``None`` waits for the environment.
        log_every: Updates between rows of ``metrics.csv``.
        checkpoint_every: Updates between checkpoints; 0 saves only at the end.
        keep_checkpoints: How many of the newest checkpoints stay.
        keep_best: Keep the checkpoint of the best evaluation, too: by success or, where there is
            none, mean return of the first of ``eval_actors``.
        max_skips: So many updates in a row that are skipped, because a loss or the gradient is not
            finite, stop the run; noticed where a row of ``metrics.csv`` is due.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        threads: Threads of PyTorch on the CPU; ``None`` leaves them as they are. The same
            number is part of what makes a run repeatable bit by bit.
        compile: Run each update as one compiled graph: on, off, or auto, which compiles where the
            run is long enough to gain from it and the machine can.
        precision: Of the matrix products of updates: float32; tf32, on GPUs that have it; or
            bfloat16, by autocast, which is slower where the processor lacks it. Weights, optimizer,
            losses, and the first and last layers of networks stay in float32.
        data_root: Folder of data sets; ``None`` means $FLOWPOLICY_DATA or ~/.ogbench/data.
        tensorboard: Write TensorBoard events.

    Example:
        >>> config = TrainConfig(agent="fql", env="cube-single-play-singletask-v0")
        >>> TrainConfig.from_dict(config.to_dict()) == config
        True
    """

    agent: str
    env: str
    options: Mapping[str, Any] = field(default_factory=dict)
    offline_steps: int = 100_000
    online_steps: int = 0
    online_protocol: str = "fql"
    batch_size: int = 256
    n_step: int = 1
    horizon: int = 1
    discount: float = 0.99
    seed: int = 0
    normalize_observations: bool = False
    protocol: str = "fql"
    eval_every: int = 10_000
    eval_episodes: int = 50
    eval_actors: tuple[str, ...] = ("policy",)
    eval_workers: int = 0
    eval_seed: int = 0
    eval_at_start: bool = False
    max_episode_steps: int | None = None
    log_every: int = 100
    checkpoint_every: int = 10_000
    keep_checkpoints: int = 3
    keep_best: bool = True
    max_skips: int = 10
    device: str = "cpu"
    threads: int | None = None
    compile: str = "auto"
    precision: str = "float32"
    data_root: str | None = None
    tensorboard: bool = True

    def __post_init__(self) -> None:
        self._require_kinds()
        self._normalise()
        known = recipe_options(self.agent)  # refuses an unknown agent, too
        for name in self.options:
            if name not in known:
                raise unknown_name(f"option of {self.agent}", name, known)
            if name in _SHARED:
                raise ConfigError(f"{name} is an option of the run, not of the agent; set it once")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, got {value}")
        if not (math.isfinite(self.discount) and 0 < self.discount <= 1):
            raise ConfigError(f"discount must lie in (0, 1], got {self.discount}")
        self._refuse_impossible_chunks()
        self._refuse_impossible_phases()
        for name, value in self.options.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{name} must be finite, got {value}")
        if self.options.get("lr", 1.0) <= 0:
            raise ConfigError(f"lr must be above 0, got {self.options['lr']}")
        protocol(self.protocol)  # refuses an unknown one
        self._refuse_impossible_machine()
        if not self.eval_actors:
            raise ConfigError("eval_actors must name at least one actor, for instance policy")
        if twice := [name for name in self.eval_actors if self.eval_actors.count(name) > 1]:
            raise ConfigError(f"eval_actors must be different, got {twice[0]!r} more than once")

    def _normalise(self) -> None:
        """What JSON gives back and a path become what a round trip compares equal to."""
        options = {k: _named(k, v) for k, v in self.options.items()}
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "eval_actors", tuple(self.eval_actors))
        if self.data_root is not None:
            object.__setattr__(self, "data_root", os.fspath(self.data_root))

    def _require_kinds(self) -> None:
        """Refuses values of another kind, which a file may hold where Python has annotations."""
        numbers: dict[str, Any] = {"discount": self.discount}
        if isinstance(self.options, Mapping):
            numbers |= {name: self.options[name] for name in ("lr",) if name in self.options}
        whole = {name: getattr(self, name) for name in _LEAST}
        optional = ("max_episode_steps", "threads")
        actors, root = self.eval_actors, self.data_root
        for name, value, fits, kind in (
            *((n, v, _is_number(v), "a number") for n, v in numbers.items()),
            *(
                (n, v, _is_whole(v) or (v is None and n in optional), "a whole number")
                for n, v in whole.items()
            ),
            *((n, getattr(self, n), isinstance(getattr(self, n), str), "a text") for n in _TEXTS),
            *((n, getattr(self, n), isinstance(getattr(self, n), bool), "a bool") for n in _FLAGS),
            ("data_root", root, isinstance(root, str | os.PathLike | None), "a path or None"),
            ("options", self.options, isinstance(self.options, Mapping), "a table of options"),
            ("eval_actors", actors, isinstance(actors, list | tuple), "a list of names"),
        ):
            if not fits:
                raise ConfigError(f"{name} must be {kind}, got {value!r}")

    def _refuse_impossible_machine(self) -> None:
        if self.compile not in _COMPILE:
            raise unknown_name("value of compile", self.compile, _COMPILE)
        if self.precision not in _PRECISIONS:
            raise unknown_name("precision", self.precision, _PRECISIONS)
        if parse_device(self.device).type != "cuda" and self.precision == "tf32":
            raise ConfigError(
                f"precision tf32 is of GPUs, and the device is {self.device}; take bfloat16, where "
                "the processor has it, or float32"
            )

    def _refuse_impossible_phases(self) -> None:
        if self.online_protocol not in ONLINE_PROTOCOLS:
            raise unknown_name("online protocol", self.online_protocol, ONLINE_PROTOCOLS)
        if not self.online_steps:
            if not self.offline_steps:
                raise ConfigError("offline_steps must be at least 1 without online_steps, got 0")
            return
        if self.max_episode_steps is not None and self.n_step > self.max_episode_steps:
            raise ConfigError(
                f"n_step {self.n_step} is longer than the episodes, max_episode_steps="
                f"{self.max_episode_steps}: no window would come of the environment's steps"
            )
        ONLINE_PROTOCOLS[self.online_protocol].refuse(
            offline_steps=self.offline_steps,
            online_steps=self.online_steps,
            batch_size=self.batch_size,
        )

    def _refuse_impossible_chunks(self) -> None:
        if self.horizon == 1:
            return
        if "horizon" not in recipe_options(self.agent):
            raise ConfigError(f"horizon must be 1: {self.agent} has no action chunks")
        if self.n_step > 1:
            raise ConfigError(
                f"horizon {self.horizon} and n_step {self.n_step} exclude each other: the target "
                "of a chunk sums the rewards of its own steps; set n_step to 1"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """Arguments of the recipe: the options, and what it shares with the run."""
        known = recipe_options(self.agent)
        return {**self.options, **{name: getattr(self, name) for name in _SHARED if name in known}}

    def to_dict(self) -> dict[str, Any]:
        """Numbers, texts and lists only, for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["options"] = {k: _plain(v) for k, v in self.options.items()}
        return {name: _plain(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Reads what :meth:`to_dict` wrote.

        Raises:
            ConfigError: A key is unknown or one that is needed is missing.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("training option", name, known)
        for name in ("agent", "env"):
            if name not in values:
                raise ConfigError(f"the configuration lacks {name!r}")
        return cls(**values)

    def difference(
        self, other: TrainConfig, *, besides: Collection[str] = ()
    ) -> tuple[str, Any, Any] | None:
        """The first setting that differs: its name, the value here and there; ``None`` if none.

        Where the data lie is none, since their content is compared, nor is the number of threads,
        which changes rounding alone.

        Args:
            other: the other run.
            besides: settings that may differ.

        Example:
            >>> config = TrainConfig(agent="fql", env="cube-single-play-singletask-v0")
            >>> config.difference(config.replace(seed=3))
            ('seed', 0, 3)
            >>> config.difference(config.replace(seed=3, threads=7), besides=["seed"])
        """
        here, there = _flat(self), _flat(other)
        same = {*besides, "data_root", "threads"}
        names = [name for name in dict.fromkeys([*here, *there]) if name not in same]
        changed = (name for name in names if here.get(name) != there.get(name))
        return next(((name, here.get(name), there.get(name)) for name in changed), None)

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)


_SHARED = ("discount", "horizon")
"""Options of the run that are also the recipe's, where it takes them."""


_LEAST = {
    "offline_steps": 0,
    "online_steps": 0,
    "batch_size": 1,
    "n_step": 1,
    "horizon": 1,
    "seed": 0,
    "eval_every": 0,
    "eval_episodes": 1,
    "eval_workers": 0,
    "eval_seed": 0,
    "max_episode_steps": 1,
    "log_every": 1,
    "checkpoint_every": 0,
    "keep_checkpoints": 1,
    "max_skips": 1,
    "threads": 1,
}


_TEXTS = ("agent", "env", "device", "protocol", "online_protocol", "compile", "precision")
_FLAGS = ("normalize_observations", "eval_at_start", "keep_best", "tensorboard")
_COMPILE = ("auto", "on", "off")
_PRECISIONS = ("float32", "tf32", "bfloat16")


def _flat(config: TrainConfig) -> dict[str, Any]:
    """All settings, each option by its own name."""
    values = config.to_dict()
    options: dict[str, Any] = values.pop("options")
    return {**values, **options}


def _named(option: str, value: Any) -> Any:
    """An option as JSON can hold it: an object by its name, a list as a tuple."""
    if isinstance(value, list):
        return tuple(value)
    if value is None or isinstance(value, bool | int | float | str | tuple):
        return value
    names = NAMED_OPTIONS.get(option, {})
    for name, known in names.items():
        if value == known:
            return name
    told = f", or one of the objects {', '.join(names)}" if names else ""
    raise ConfigError(
        f"{option} must be a number, a text or a list of them{told}, got {value!r}; a run could "
        "not be resumed with it"
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
