"""What came out of a number of episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate.interval import wilson_interval


@dataclass(frozen=True)
class Evaluation:
    """Episodes of one policy, one entry per episode.

    Attributes:
        returns: Undiscounted sum of rewards of each episode.
        lengths: Number of steps of each episode.
        successes: Whether each episode reached its goal; ``None`` where the environment does not
            say (no ``info["success"]``).
        seconds: Wall-clock time.

    Example:
        >>> result = Evaluation((-8.0, -20.0), (8, 20), (True, False), 0.1)
        >>> result.success_rate, result.mean_return
        (0.5, -14.0)
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    successes: tuple[bool, ...] | None
    seconds: float

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.returns)

    @property
    def success_rate(self) -> float | None:
        """Share of the episodes that reached the goal."""
        return None if self.successes is None else sum(self.successes) / self.episodes

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the success rate over episodes."""
        if self.successes is None:
            return None
        return wilson_interval(sum(self.successes), self.episodes)

    @property
    def mean_return(self) -> float:
        """Mean over episodes."""
        return sum(self.returns) / self.episodes

    @property
    def std_return(self) -> float:
        """Standard deviation over episodes, with n in the denominator."""
        mean = self.mean_return
        return math.sqrt(sum((value - mean) ** 2 for value in self.returns) / self.episodes)

    @property
    def mean_length(self) -> float:
        """Mean number of steps over episodes."""
        return sum(self.lengths) / self.episodes

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers and lists, for JSON."""
        return {
            "success_rate": self.success_rate,
            "interval": None if self.interval is None else list(self.interval),
            "mean_return": self.mean_return,
            "std_return": self.std_return,
            "mean_length": self.mean_length,
            "episodes": self.episodes,
            "seconds": self.seconds,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "successes": None if self.successes is None else list(self.successes),
        }

    def __str__(self) -> str:
        score = f"return {self.mean_return:.1f} ± {self.std_return:.1f}"
        if self.success_rate is not None and self.interval is not None:
            low, high = self.interval
            score = f"success {self.success_rate:.2f} (95 % {low:.2f} to {high:.2f}), {score}"
        return f"{score}, {self.episodes} episodes of {self.mean_length:.0f} steps on average"


def pool(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Joins the episodes of several evaluations, for instance of several seeds.

    The interval of the result is over all episodes; it does not know which of them share a seed.
    Where some of them know success, no episode of the others had any: some environments tell of a
    success and say nothing where there is none.

    Raises:
        ConfigError: There is none.

    Example:
        >>> one = Evaluation((1.0,), (5,), (True,), 0.1)
        >>> pool([one, one]).episodes
        2
    """
    if not evaluations:
        raise ConfigError("pool: expected at least one evaluation, got none")
    tells = any(e.successes is not None for e in evaluations)
    successes = [e.successes or (False,) * e.episodes for e in evaluations]
    return Evaluation(
        returns=tuple(value for e in evaluations for value in e.returns),
        lengths=tuple(value for e in evaluations for value in e.lengths),
        successes=tuple(value for group in successes for value in group) if tells else None,
        seconds=sum(e.seconds for e in evaluations),
    )
