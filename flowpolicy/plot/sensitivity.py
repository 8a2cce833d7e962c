"""Success against a coefficient, one curve for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.plot.style import (
    COLORS,
    MARKERS,
    figure_style,
    footer,
    new_figure,
    save_figure,
)


@dataclass(frozen=True)
class Place:
    """What one value of the coefficient gave.

    Attributes:
        value: Of the coefficient, above 0.
        mean: Over seeds.
        interval: Around it; ``None`` where there is none.
        singles: One per seed.
    """

    value: float
    mean: float
    interval: tuple[float, float] | None
    singles: Sequence[float]


def sensitivity_plot(
    curves: Mapping[str, Sequence[Place]],
    out: Path,
    *,
    option: str,
    axis: str,
    title: str,
    footnote: str,
    percent: bool,
) -> Path:
    """Draws the curves over a logarithmic axis.

    Args:
        curves: Places by the variant's name.
        out: Where to write; the suffix says the format.
        option: The coefficient.
        axis: What the values are.
        title: Above all.
        footnote: Below all.
        percent: Whether the axis of values goes from 0 to 100.

    Raises:
        ConfigError: The file cannot be written.
    """
    with figure_style():
        figure = new_figure(8.4, 4.8)
        axes = figure.add_subplot()
        for index, (label, places) in enumerate(curves.items()):
            color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
            values = [place.value for place in places]
            for place in places:
                singles = [place.value] * len(place.singles)
                axes.plot(singles, place.singles, marker, ms=4, color=color, alpha=0.4)
                if place.interval is not None:
                    axes.plot([place.value] * 2, place.interval, color=color, lw=2)
            means = [place.mean for place in places]
            axes.plot(values, means, color=color, marker=marker, ms=7, mec="white", label=label)
        axes.set_xscale("log")
        axes.set_xlabel(option)
        axes.set_ylabel(axis)
        if percent:
            axes.set_ylim(-3, 103)
        axes.set_title(title)
        axes.legend(frameon=True, framealpha=0.9, edgecolor="none")
        footer(figure, footnote)
        return save_figure(figure, out)
