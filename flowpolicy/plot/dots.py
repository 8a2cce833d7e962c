"""Methods side by side: a dot with its interval for each, one panel per environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.plot.style import COLORS, FAINT, figure_style, footer, new_figure, save_figure


@dataclass(frozen=True)
class Dot:
    """One row of a panel.

    Attributes:
        name: Of the row.
        mean: Where the dot stands.
        interval: Around it; ``None`` where there is none.
        singles: Faint dots, one per seed.
    """

    name: str
    mean: float
    interval: tuple[float, float] | None
    singles: Sequence[float]


def dot_plot(
    panels: Mapping[str, Sequence[Dot]],
    out: Path,
    *,
    axis: str,
    title: str,
    footnote: str,
    percent: bool,
) -> Path:
    """Draws a panel of horizontal rows for each environment; the first row stands at the top.

    Args:
        panels: Rows by the panel's title.
        out: Where to write; the suffix says the format.
        axis: What the values are.
        title: Above all.
        footnote: Below all.
        percent: Whether the axis of values goes from 0 to 100.

    Raises:
        ConfigError: The file cannot be written.
    """
    rows = max(len(dots) for dots in panels.values())
    with figure_style():
        figure = new_figure(max(8.4, 6.2 * len(panels)), 2.2 + 0.34 * rows)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (panel, dots) in zip(grid, panels.items(), strict=True):
            for row, dot in enumerate(dots):
                axes.plot(dot.singles, [row] * len(dot.singles), "o", ms=5, color=FAINT, alpha=0.6)
                if dot.interval is not None:
                    axes.plot(dot.interval, [row, row], color=COLORS[0], lw=2.4)
                axes.plot([dot.mean], [row], "D", ms=8, color=COLORS[0], mec="white", zorder=3)
            axes.set_yticks(range(len(dots)), [dot.name for dot in dots])
            axes.set_ylim(len(dots) - 0.5, -0.5)
            axes.set_xlabel(axis)
            if percent:
                axes.set_xlim(-3, 103)
            axes.set_title(panel, fontsize=12)
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
        footer(figure, footnote)
        return save_figure(figure, out)
