"""The evaluations of a run, read back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import wilson_interval
from flowpolicy.run_folder import RunFolder


@dataclass(frozen=True)
class Point:
    """Episodes of one actor after some number of updates.

    Attributes:
        step: The number of updates.
        successes: How many episodes succeeded; ``None`` where the environment does not say.
        episodes: How many there were.
        mean: Mean return.
        std: Its standard deviation over episodes.
        env_steps: The number of environment steps of online training before it.
    """

    step: int
    successes: int | None
    episodes: int
    mean: float
    std: float
    env_steps: int = 0

    @property
    def moment(self) -> tuple[bool, int]:
        """Whether it was online, and after how many steps: of the environment there, else updates.

        Online, not every step of the environment has an update, so that seeds differ in updates.
        """
        return (True, self.env_steps) if self.env_steps else (False, self.step)

    @property
    def value(self) -> float:
        """What is drawn: success in per cent, or the mean return."""
        return self.mean if self.successes is None else 100 * self.successes / self.episodes

    @property
    def band(self) -> tuple[float, float]:
        """95 % interval of :attr:`value`: Wilson's, or 1.96 standard errors of the mean."""
        if self.successes is None:
            error = 1.96 * self.std / math.sqrt(self.episodes)
            return self.mean - error, self.mean + error
        low, high = wilson_interval(self.successes, self.episodes)
        return 100 * low, 100 * high


def read_points(run: RunFolder) -> dict[str, list[list[Point]]]:
    """The evaluations of a run by actor: one list of points per seed.

    Where any of them tells of success, those that say nothing had none: some environments tell of a
    success alone.

    Raises:
        ConfigError: There is none.
    """
    actors: dict[str, list[list[Point]]] = {}
    for seed in run.seeds():
        lines: dict[str, list[Point]] = {}
        for row in seed.read_evaluations():
            try:
                actor = row["actor"]
                point = Point(
                    int(row["step"]),
                    int(row["successes"]) if row["successes"] else None,
                    int(row["episodes"]),
                    float(row["return"]),
                    float(row["return_std"]),
                    int(row.get("env_steps") or 0),
                )
                if not 0 <= (point.successes or 0) <= point.episodes or not point.episodes:
                    raise ValueError
            except (KeyError, ValueError) as error:
                raise ConfigError(f"{seed.evaluations} has a row that is not one: {row}") from error
            lines.setdefault(actor, []).append(point)
        for actor, line in lines.items():
            actors.setdefault(actor, []).append(line)
    if not actors:
        raise ConfigError(f"{run.path} has no evaluation yet (no rows in eval.csv)")
    points = (point for of_seeds in actors.values() for line in of_seeds for point in line)
    if any(point.successes is not None for point in points):
        return {
            actor: [[replace(p, successes=p.successes or 0) for p in line] for line in of_seeds]
            for actor, of_seeds in actors.items()
        }
    return actors


def pooled(seeds: Sequence[Sequence[Point]]) -> list[Point]:
    """One point per :attr:`Point.moment` that every seed has, over the episodes of all.

    Its updates are those of the first seed.

    Example:
        >>> pooled([[Point(10, 1, 2, 0.0, 1.0)], [Point(10, 2, 2, 2.0, 1.0)]])[0].successes
        3
    """
    by_moment: dict[tuple[bool, int], list[Point]] = {}
    for line in seeds:
        for point in line:
            by_moment.setdefault(point.moment, []).append(point)
    return [_pool(points) for _, points in sorted(by_moment.items()) if len(points) == len(seeds)]


def _pool(points: Sequence[Point]) -> Point:
    episodes = sum(p.episodes for p in points)
    mean = sum(p.mean * p.episodes for p in points) / episodes
    square = sum((p.std**2 + p.mean**2) * p.episodes for p in points) / episodes
    known = [p.successes for p in points if p.successes is not None]
    successes = sum(known) if len(known) == len(points) else None
    std = math.sqrt(max(square - mean**2, 0))
    return Point(points[0].step, successes, episodes, mean, std, points[0].env_steps)
