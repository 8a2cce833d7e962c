"""The score of a run by the rules of a paper."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from flowpolicy.errors import ConfigError, unknown_name
from flowpolicy.evaluate import Protocol
from flowpolicy.results.over_seeds import OverSeeds
from flowpolicy.results.points import Point, read_points
from flowpolicy.run_folder import RunFolder


@final
@dataclass(frozen=True)
class Score(OverSeeds):
    """What a run scores, seed by seed.

    Attributes:
        protocol: By whose rules.
        values: One per seed: success in per cent, or the mean return.
        success: Whether the values are success rates.
        differences: In what the evaluations differ from the paper's, in words.

    Example:
        >>> from flowpolicy.evaluate import protocol
        >>> print(Score(protocol("fql"), (96.0, 98.0), success=True))
        97.0 ± 1.0 %
        >>> print(Score(protocol("qam"), (96.0, 98.0), success=True))
        97.0 % [96.0, 98.0]
    """

    protocol: Protocol
    values: tuple[float, ...]
    success: bool
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        unit = " %" if self.success else ""
        if self.interval is None:
            return f"{self.mean:.1f}{unit}"
        if self.protocol.spread == "std":
            return f"{self.mean:.1f} ± {self.std:.1f}{unit}"
        low, high = self.interval
        return f"{self.mean:.1f}{unit} [{low:.1f}, {high:.1f}]"


def score(
    run: RunFolder, rules: Protocol | None = None, actor: str = "policy", *, end: int | None = None
) -> Score:
    """The score of a run folder, of one seed or of several.

    Args:
        run: Its recorded evaluations are read, nothing is played.
        rules: The protocol; ``None`` takes that of the run's configuration.
        actor: Which of the evaluated actors.
        end: The step at which training counts as over; ``None`` takes the end of the run. Steps are
            those on the data and then those of the environment, so that ``offline_steps`` gives the
            offline score of a run that went on.

    Raises:
        ConfigError: The run has no evaluation of this actor, or lacks one that the rules ask for:
            it was stopped, is still running, or was evaluated too seldom.

    Example:
        >>> from flowpolicy.evaluate import protocol
        >>> run = RunFolder.open("runs/cube")  # doctest: +SKIP
        >>> print(score(run, protocol("gfp")))  # doctest: +SKIP
    """
    config = run.config()
    own = run.rules()
    rules = own if rules is None else rules
    offline = int(config.get("offline_steps") or 0)
    if end is None:
        end = offline + int(config.get("online_steps") or 0)
    lines = read_points(run)
    if actor not in lines:
        raise unknown_name(f"evaluated actor of {run.path}", actor, lines)
    seeds = len(config.get("seeds") or run.seeds())
    if len(lines[actor]) < seeds:
        raise ConfigError(
            f"{run.path}: {len(lines[actor])} of {seeds} seeds have evaluations of "
            f"{actor!r}; a score is over all of them"
        )
    chosen = [_chosen(line, rules, offline, end) for line in lines[actor]]
    points = [point for seed in chosen for point in seed]
    return Score(
        protocol=rules,
        values=tuple(statistics.fmean(point.value for point in seed) for seed in chosen),
        success=all(point.successes is not None for point in points),
        differences=_differences(rules, own, points, len(chosen)),
    )


def mean_over_tasks(scores: Sequence[Score]) -> Score:
    """One score of several tasks: each seed's mean over tasks, so that the spread is over seeds.

    Raises:
        ConfigError: There is none, or they differ in protocol, number of seeds or what they count.

    Example:
        >>> from flowpolicy.evaluate import protocol
        >>> easy = Score(protocol("fql"), (100.0, 90.0), success=True)
        >>> hard = Score(protocol("fql"), (0.0, 10.0), success=True)
        >>> mean_over_tasks([easy, hard]).values
        (50.0, 50.0)
    """
    kinds = {(each.protocol.name, len(each.values), each.success) for each in scores}
    if len(kinds) != 1:
        told = "; ".join(
            f"{name}, {seeds} seeds, {'success' if success else 'return'}"
            for name, seeds, success in sorted(kinds)
        )
        raise ConfigError(f"mean_over_tasks: the scores must be of one kind, got {told or 'none'}")
    return Score(
        protocol=scores[0].protocol,
        values=tuple(
            statistics.fmean(seed) for seed in zip(*(s.values for s in scores), strict=True)
        ),
        success=scores[0].success,
        differences=tuple(dict.fromkeys(d for each in scores for d in each.differences)),
    )


def _chosen(line: Sequence[Point], rules: Protocol, offline: int, end: int) -> list[Point]:
    moments = {point.moment: point for point in line}
    points = {offline * online + steps: point for (online, steps), point in moments.items()}
    return [points[step] for step in rules.select(points, end)]


def _differences(
    rules: Protocol, own: Protocol, points: Sequence[Point], seeds: int
) -> tuple[str, ...]:
    found = []
    if other := sorted({point.episodes for point in points} - {rules.episodes}):
        counts = " or ".join(map(str, other))
        found.append(f"{counts} episodes per evaluation, not {rules.episodes}")
    if seeds != rules.seeds:
        found.append(f"{seeds} seed{'' if seeds == 1 else 's'}, not {rules.seeds}")
    if own.sampled != rules.sampled:
        played = "sampled" if own.sampled else "played at their mode"
        found.append(f"Gaussian policies were {played}, by protocol {own.name}")
    return tuple(found)
