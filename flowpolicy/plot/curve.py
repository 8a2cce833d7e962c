"""The learning curve of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from flowpolicy.errors import ConfigError
from flowpolicy.plot.style import (
    COLORS,
    FAINT,
    MARKERS,
    figure_style,
    footer,
    new_figure,
    save_figure,
)
from flowpolicy.results import Point, pooled, read_points
from flowpolicy.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curve(
    runs: Sequence[RunFolder], out: Path, *, labels: Sequence[str] | None = None
) -> Path:
    """Draws success (or return) over updates, with shaded 95 % intervals.

    The episodes of all seeds of a run are taken together; its single seeds are thin lines. Where a
    run goes on online, a thin vertical line marks its last offline evaluation.

    Args:
        runs: Run folders; their evaluations are read.
        out: Where to write; the suffix says the format.
        labels: Names of the runs for the legend; by default their agents and, where that does not
            tell them apart, the ends of their paths that do.

    Raises:
        ConfigError: A run has no evaluation yet, labels are of another number than runs or could
            not be shown, or the file cannot be written.
    """
    if labels is not None and len(labels) != len(runs):
        raise ConfigError(f"{len(runs)} runs need as many labels, got {len(labels)}")
    if hidden := [label for label in labels or () if not label or label.startswith("_")]:
        raise ConfigError(
            f"label {hidden[0]!r} would not be shown: Matplotlib leaves those out of the legend "
            "that are empty or begin with '_'; choose another"
        )
    curves = []
    for name, run in zip(labels or _run_names(runs), runs, strict=True):
        for actor, seeds in read_points(run).items():
            curves.append((f"{name}{_suffix(actor)}", seeds))
    success = all(p.successes is not None for _, seeds in curves for line in seeds for p in line)
    if not success:  # one axis has room for one measure, and all have returns
        curves = [
            (label, [[replace(point, successes=None) for point in line] for line in seeds])
            for label, seeds in curves
        ]
    with figure_style():
        figure = new_figure(8.4, 4.8)
        axes = figure.add_subplot()
        for index, (label, seeds) in enumerate(curves):
            _draw(axes, label, seeds, index)
        for step in sorted({step for _, seeds in curves for step in switches(seeds)}):
            axes.axvline(step, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=1)
            axes.annotate(
                "online",
                (step, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -4),
                textcoords="offset points",
                va="top",
                fontsize=9.5,
                color=FAINT,
            )
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
        footer(figure, _footnote(curves))
        return save_figure(figure, out)


def switches(seeds: Sequence[Sequence[Point]]) -> set[int]:
    """The steps after which seeds went on online, if they did.

    Example:
        >>> offline, online = Point(10, 1, 2, 0.0, 1.0), Point(15, 1, 2, 0.0, 1.0, env_steps=5)
        >>> switches([[offline, online]]), switches([[offline]])
        ({10}, set())
    """
    return {
        before.step
        for line in seeds
        for before, after in pairwise(line)
        if after.env_steps and not before.env_steps
    }


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
        zorder=3 - index / 100,  # the first on top
        clip_on=False,
    )
    if len(points) == 1:  # a band of one point has no width
        axes.vlines(steps, *points[0].band, color=color, alpha=0.5, lw=2)


def _run_names(runs: Sequence[RunFolder]) -> list[str]:
    """The names of the agents, with the end of the path where several runs have the same."""
    agents = [str(run.config().get("agent", "run")).replace("_", " ").upper() for run in runs]
    paths = [run.path.resolve().parts for run in runs]
    different = len(set(paths))
    length = next(n for n in count(1) if len({path[-n:] for path in paths}) == different)
    return [
        agent if agents.count(agent) == 1 else f"{agent} ({'/'.join(path[-length:])})"
        for agent, path in zip(agents, paths, strict=True)
    ]


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
