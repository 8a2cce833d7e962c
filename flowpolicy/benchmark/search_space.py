"""What a search may choose: ranges of numbers, and lists of choices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

from flowpolicy.errors import ConfigError, refuse_unknown


class Range(Protocol):
    """The values that one setting may have."""

    def suggest(self, trial: Any, name: str) -> Any:
        """The value that one of Optuna's trials gets."""
        ...

    @property
    def ends(self) -> tuple[Any, Any]:
        """Two values, as far apart as possible."""
        ...


@final
@dataclass(frozen=True)
class Numbers:
    """Numbers between two, both among them; whole ones where both are.

    Attributes:
        low: The least.
        high: The greatest.
        log: Uniform in the logarithm.

    Raises:
        ConfigError: There is none, or no logarithm of it.

    Example:
        >>> Numbers(0.1, 100.0, log=True).ends
        (0.1, 100.0)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ConfigError(f"{name} must be a finite number, got {value!r}")
        if not self.low < self.high:
            raise ConfigError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and not self.low > 0:
            raise ConfigError(f"low must be above 0 where log is true, got {self.low}")

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest."""
        return self.low, self.high

    def suggest(self, trial: Any, name: str) -> float:
        """A number; four digits of it, so that the folder's name can tell it."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return int(trial.suggest_int(name, self.low, self.high, log=self.log))
        value = trial.suggest_float(name, float(self.low), float(self.high), log=self.log)
        return min(max(float(f"{value:.4g}"), self.low), self.high)


@final
@dataclass(frozen=True)
class Choices:
    """Some values without an order.

    Attributes:
        choices: At least two numbers, texts or truth values.

    Raises:
        ConfigError: There are fewer, or one is of another kind.
    """

    choices: Sequence[Any]

    def __post_init__(self) -> None:
        plain = isinstance(self.choices, list) and all(
            isinstance(choice, str | int | float) for choice in self.choices
        )
        if not plain or len(self.choices) < 2:
            raise ConfigError(
                f"choices must be a list of at least two numbers or texts, got {self.choices!r}"
            )

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return tuple(self.choices)

    def suggest(self, trial: Any, name: str) -> Any:
        """One of them."""
        return trial.suggest_categorical(name, self.choices)


@final
@dataclass(frozen=True)
class SearchSpace:
    """How many trials there are, and what they choose.

    Attributes:
        ranges: By the name of the setting.
        trials: How many.
        at_once: How many of them are chosen before the first of them ends.
        seed: Of the search.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    trials: int = 20
    at_once: int = 2
    seed: int = 0

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> SearchSpace:
        """Reads the table ``[search]`` of a grid file.

        Args:
            table: ``trials``, ``at_once``, ``seed``; every other key is a setting with ``low`` and
                ``high``, maybe ``log``, or with ``choices``.
            where: For messages.

        Raises:
            ConfigError: It says what cannot be; names the key.

        Example:
            >>> SearchSpace.of({"trials": 9, "alpha": {"low": 1, "high": 8}}, "here").ranges
            {'alpha': Numbers(low=1, high=8, log=False)}
        """
        numbers = {"trials": 1, "at_once": 1, "seed": 0}
        for name, least in numbers.items():
            value = table.get(name, least)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(
                    f"{where}: [search] {name} must be a whole number of at least {least}, got "
                    f"{value!r}"
                )
        ranges = {
            k: _range(v, f"{where}, search.{k}") for k, v in table.items() if k not in numbers
        }
        if not ranges:
            raise ConfigError(
                f"{where}: [search] names no setting, as alpha = {{ low = 0.1, high = 100.0, log = "
                "true }} does"
            )
        return cls(ranges, **{name: table[name] for name in numbers if name in table})

    def suggest(self, trial: Any) -> dict[str, Any]:
        """What one of Optuna's trials tries."""
        return {name: each.suggest(trial, name) for name, each in self.ranges.items()}

    def ends(self) -> Iterator[dict[str, Any]]:
        """Every setting at its ends, each choice once."""
        for at in range(max(len(each.ends) for each in self.ranges.values())):
            yield {n: each.ends[min(at, len(each.ends) - 1)] for n, each in self.ranges.items()}


def _range(table: Any, where: str) -> Range:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table with low and high or with choices")
    kind, known = (
        (Choices, ("choices",)) if "choices" in table else (Numbers, ("low", "high", "log"))
    )
    refuse_unknown(f"key of {where}", table, known)
    try:
        found: Range = kind(**table)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error
    return found
