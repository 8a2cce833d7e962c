"""One look for every picture: large enough for a slide, safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flowpolicy.durable import replacing
from flowpolicy.errors import ConfigError, require_installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette in the order of use; blue and vermilion first."""

INK: Final = "#222222"
MARKERS: Final = ("o", "s", "^", "D", "v", "P")
FAINT: Final = "#8A8A8A"
GRID: Final = "#E4E4E4"

ON_DARK: Final = {
    INK: "#E8E8EA",
    FAINT: "#A6A7AE",
    GRID: "#3C3E48",
    "#FFFFFF": "#1E2129",
    "#0072B2": "#4FA8E0",
    "#D55E00": "#F58139",
    "#009E73": "#2BC49A",
}
"""What a colour becomes on a dark page: ink turns light, and the three darkest of the palette rise
to a contrast of at least 4 with the ground."""

_STYLE: Final[Any] = {  # Any: matplotlib spells all its keys out in the type
    "figure.constrained_layout.wspace": 0.05,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": 160,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelsize": 12.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 2.4,
    "lines.solid_capstyle": "round",
    "axes.prop_cycle": f"cycler(color={list(COLORS)})",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "flowpolicy",  # the same figure, the same file
}


def dark(svg: str) -> str:
    """A picture in SVG with its colours for a dark page; embedded images stay as they are."""
    for light, color in ON_DARK.items():
        svg = svg.replace(light.lower(), color.lower())
    return svg


@contextmanager
def figure_style() -> Iterator[None]:
    """Sets the look of figures made inside; needs no screen.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require_installed("a picture", "matplotlib", extra="cli")
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure with the Agg backend, whatever backend the process uses otherwise."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def footer(figure: Figure, text: str) -> None:
    """A faint line below a picture, at its right."""
    figure.supxlabel(text, fontsize=9.5, color=FAINT, x=0.99, ha="right")


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a picture that is complete or absent; the format follows from the suffix."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as staging:
            figure.savefig(staging, format=path.suffix.removeprefix(".") or "png")
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be written as a picture: {error}") from error
    return path
