"""The learning curve of one or several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import wilson_interval
from flowpolicy.plot.style import COLORS, FAINT, figure_style, new_figure, save_figure
from flowpolicy.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Point:
    """Episodes of one actor after some number of updates.

    Attributes:
        step: The number of updates.
        successes: How many episodes succeeded; ``None`` where the environment does not say.
        episodes: How many there were.
        mean: Mean return.
        std: Its standard deviation over episodes.
    """

    step: int
    successes: int | None
    episodes: int
    mean: float
    std: float

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


def learning_curve(
    runs: Sequence[RunFolder], out: Path, *, labels: Sequence[str] | None = None
) -> Path:
    """Draws success (or return) over updates, with shaded 95 % intervals.

    The episodes of all seeds of a run are taken together; its single seeds are thin lines.

    Args:
        runs: Run folders; their evaluations are read.
        out: Where to write; the suffix says the format.
        labels: Names of the runs for the legend.

    Raises:
        ConfigError: A run has no evaluation yet, or the file cannot be written.
    """
    if labels is not None and len(labels) != len(runs):
        raise ConfigError(f"{len(runs)} runs need as many labels, got {len(labels)}")
    curves = []
    for number, run in enumerate(runs):
        name = labels[number] if labels else _run_name(run, runs)
        for actor, seeds in read_points(run).items():
            curves.append((f"{name}{_suffix(actor)}", seeds))
    success = all(p.successes is not None for _, seeds in curves for line in seeds for p in line)
    with figure_style():
        figure = new_figure(8.4, 4.8)
        axes = figure.add_subplot()
        for index, (label, seeds) in enumerate(curves):
            _draw(axes, label, seeds, index)
        axes.set_xlabel("updates")
        axes.set_ylabel("success rate (%)" if success else "mean return of an episode")
        if success:
            axes.set_ylim(-3, 103)
            axes.set_yticks(range(0, 101, 20))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        environments = dict.fromkeys(str(run.config().get("env", "")) for run in runs)
        columns = 3 if len(curves) <= 3 else 2
        legend_rows = -(-len(curves) // columns)
        axes.set_title(", ".join(environments), pad=12 + 22 * legend_rows)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=columns,
            borderaxespad=0.2,
            fontsize=11.5,
        )
        figure.supxlabel(_footnote(curves), fontsize=9.5, color=FAINT, x=0.99, ha="right")
        return save_figure(figure, out)


def read_points(run: RunFolder) -> dict[str, list[list[Point]]]:
    """The evaluations of a run by actor: one list of points per seed.

    Raises:
        ConfigError: There is none.
    """
    actors: dict[str, list[list[Point]]] = {}
    for seed in run.seeds():
        lines: dict[str, list[Point]] = {}
        for row in seed.read_evaluations():
            try:
                point = Point(
                    int(row["step"]),
                    int(row["successes"]) if row["successes"] else None,
                    int(row["episodes"]),
                    float(row["return"]),
                    float(row["return_std"]),
                )
            except (KeyError, ValueError, TypeError) as error:
                raise ConfigError(f"{seed.evaluations} has a row that is not one: {row}") from error
            lines.setdefault(row["actor"], []).append(point)
        for actor, line in lines.items():
            actors.setdefault(actor, []).append(line)
    if not actors:
        raise ConfigError(f"{run.path} has no evaluation yet (no rows in eval.csv)")
    return actors


def pooled(seeds: Sequence[Sequence[Point]]) -> list[Point]:
    """One point per step that every seed has reached, over the episodes of all.

    Example:
        >>> pooled([[Point(10, 1, 2, 0.0, 1.0)], [Point(10, 2, 2, 2.0, 1.0)]])[0].successes
        3
    """
    by_step: dict[int, list[Point]] = {}
    for line in seeds:
        for point in line:
            by_step.setdefault(point.step, []).append(point)
    return [_pool(points) for _, points in sorted(by_step.items()) if len(points) == len(seeds)]


def _pool(points: Sequence[Point]) -> Point:
    episodes = sum(p.episodes for p in points)
    mean = sum(p.mean * p.episodes for p in points) / episodes
    square = sum((p.std**2 + p.mean**2) * p.episodes for p in points) / episodes
    known = [p.successes for p in points if p.successes is not None]
    successes = sum(known) if len(known) == len(points) else None
    return Point(points[0].step, successes, episodes, mean, math.sqrt(max(square - mean**2, 0)))


def _draw(axes: Axes, label: str, seeds: Sequence[Sequence[Point]], index: int) -> None:
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    if len(seeds) > 1:
        for line in seeds:
            axes.plot(
                [p.step for p in line], [p.value for p in line], color=color, lw=0.9, alpha=0.55
            )
    points = pooled(seeds)
    steps = [p.step for p in points]
    axes.fill_between(
        steps,
        [p.band[0] for p in points],
        [p.band[1] for p in points],
        color=color,
        alpha=0.16,
        lw=0,
    )
    axes.plot(
        steps,
        [p.value for p in points],
        color=color,
        marker=marker,
        ms=6.5,
        mec="white",
        mew=1.2,
        label=label,
        zorder=3 + index / 100,
        clip_on=False,
    )


def _run_name(run: RunFolder, runs: Sequence[RunFolder]) -> str:
    agents = [str(other.config().get("agent", "")) for other in runs]
    agent = str(run.config().get("agent", ""))
    name = agent.replace("_", " ").upper()
    return name if agents.count(agent) == 1 else f"{name} ({run.path.name})"


def _suffix(actor: str) -> str:
    names = {"policy": "", "flow": ", its flow behaviour clone"}
    return names.get(actor, f", {actor}")


def _footnote(curves: Sequence[tuple[str, Sequence[Sequence[Point]]]]) -> str:
    seeds = sorted({len(lines) for _, lines in curves})
    episodes = sorted({point.episodes for _, lines in curves for line in lines for point in line})
    what = f"{_count(episodes, 'episode')} per evaluation and seed"
    many = f", {_count(seeds, 'seed')} (thin lines: single seeds)" if seeds != [1] else ""
    return f"{what}{many}; shaded: 95 % intervals over episodes"


def _count(values: Sequence[int], noun: str) -> str:
    text = " or ".join(map(str, values))
    return f"{text} {noun}{'' if list(values) == [1] else 's'}"
