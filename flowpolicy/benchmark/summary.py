"""What the seeds of one group of runs say together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import wilson_interval
from flowpolicy.results import OverSeeds, Point, read_points
from flowpolicy.run_folder import RunFolder, read_table


@dataclass(frozen=True)
class Summary(OverSeeds):
    """The last evaluations of runs that differ in their seeds alone.

    Attributes:
        env: Environment.
        name: Of the method or variant.
        points: The last evaluation of each seed.
        seconds: Mean time of training a seed, without evaluations.
        milliseconds: Of an update: the median row of ``metrics.csv``, averaged over seeds.
    """

    env: str
    name: str
    points: Mapping[int, Point]
    seconds: float
    milliseconds: float

    @property
    def success(self) -> bool:
        """Whether values are successes in per cent; returns otherwise."""
        return all(point.successes is not None for point in self.points.values())

    @property
    def values(self) -> list[float]:
        """One per seed: success in per cent, or the mean return."""
        return [point.value for point in self.points.values()]

    @property
    def pooled(self) -> tuple[float, float] | None:
        """95 % Wilson interval over the episodes of all seeds, in per cent."""
        if not self.success:
            return None
        successes = sum(point.successes or 0 for point in self.points.values())
        low, high = wilson_interval(successes, sum(p.episodes for p in self.points.values()))
        return 100 * low, 100 * high


def summarize(env: str, name: str, runs: Sequence[RunFolder]) -> Summary:
    """The summary of finished runs that differ in their seeds alone.

    Raises:
        ConfigError: One has no evaluation or no metrics.
    """
    points, times = {}, []
    for run in runs:
        config = run.config()
        actors = read_points(run)
        points[int(config["seed"])] = actors[config["eval_actors"][0]][0][-1]
        times.append(_times(run.metrics))
    seconds, milliseconds = (statistics.fmean(column) for column in zip(*times, strict=True))
    return Summary(env, name, dict(sorted(points.items())), seconds, milliseconds)


def summarize_all(groups: Mapping[tuple[str, str], Sequence[RunFolder]]) -> tuple[Summary, ...]:
    """The summaries of several groups by environment and name, the best of each environment first.

    Raises:
        ConfigError: As of :func:`summarize`.
    """
    found = [summarize(env, name, runs) for (env, name), runs in groups.items()]
    return tuple(sorted(found, key=lambda s: (s.env, -s.mean, s.name)))


def _times(metrics: Path) -> tuple[float, float]:
    """Seconds in updates, and milliseconds of one in the median row."""
    try:
        rows = [(int(row["step"]), float(row["rate"])) for row in read_table(metrics)[1]]
        steps = [
            b - a for a, b in zip([0, *(s for s, _ in rows)], [s for s, _ in rows], strict=False)
        ]
        seconds = sum(n / rate for n, (_, rate) in zip(steps, rows, strict=True))
        return seconds, statistics.median(1000 / rate for _, rate in rows)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{metrics} cannot be read as metrics: {error}") from error
