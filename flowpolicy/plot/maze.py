"""A maze from above with the trajectories of policies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flowpolicy.errors import ConfigError
from flowpolicy.plot.style import COLORS, INK, figure_style, footer, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]

WALL = "#3D434B"
FLOOR = "#F7F6F2"
GOAL = "#E69F00"


@dataclass(frozen=True)
class Maze:
    """What is drawn beneath the trajectories.

    Attributes:
        walls: ``[rows, columns]``, true where there is a wall; row 0 has the smallest y.
        unit: Edge of a cell.
        origin: Centre of the cell in row 0 and column 0, (x, y).
        start: Where episodes begin, (x, y).
        goal: Where they should end, (x, y).
        radius: Distance from the goal that counts as success.
    """

    walls: Array
    unit: float
    origin: tuple[float, float]
    start: tuple[float, float]
    goal: tuple[float, float]
    radius: float

    @classmethod
    def of(cls, env: Any) -> Maze:
        """Reads the walls and the task from an OGBench maze that was reset.

        Raises:
            ConfigError: ``env`` is not such a maze.
        """
        maze = env.unwrapped
        if not hasattr(maze, "maze_map"):
            raise ConfigError(f"{maze!r} is not an OGBench maze; there are no walls to draw")
        start = maze.ij_to_xy(maze.cur_task_info["init_ij"])
        return cls(
            walls=np.asarray(maze.maze_map) == 1,
            unit=float(maze._maze_unit),  # noqa: SLF001  (OGBench has no public name for these)
            origin=(-float(maze._offset_x), -float(maze._offset_y)),  # noqa: SLF001
            start=(float(start[0]), float(start[1])),
            goal=(float(maze.cur_goal_xy[0]), float(maze.cur_goal_xy[1])),
            radius=float(maze._goal_tol),  # noqa: SLF001
        )

    def solved(self, path: Array) -> bool:
        """Whether a trajectory ``[length + 1, 2]`` comes as near to the goal as is asked."""
        return bool((np.linalg.norm(path - np.asarray(self.goal), axis=1) <= self.radius).any())


@dataclass(frozen=True)
class Panel:
    """One policy's part of the picture.

    Attributes:
        title: Name of the policy.
        note: A line below it.
        paths: Trajectories ``[length + 1, 2]``.
        reached: For each, whether it reached the goal.
    """

    title: str
    note: str
    paths: Sequence[Array]
    reached: Sequence[bool]


MARGIN = 0.4
"""How much of the outer wall is shown, in cells."""


def maze_picture(maze: Maze, panels: Sequence[Panel], out: Path, *, caption: str = "") -> Path:
    """Draws one maze per panel, side by side, and writes the picture.

    Args:
        maze: Walls, start and goal.
        panels: Policies and their trajectories.
        out: Where to write.
        caption: Below everything.
    """
    rows, columns = (size - 2 * (1 - MARGIN) for size in maze.walls.shape)
    with figure_style():
        width = 5.6
        figure = new_figure(width * len(panels), (width - 0.3) * rows / columns + 1.3)
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), index + 1)
            _draw_maze(axes, maze)
            _draw_paths(axes, panel, COLORS[index % len(COLORS)])
            axes.set_title(panel.title, pad=26, color=COLORS[index % len(COLORS)])
            axes.text(0, 1.02, panel.note, transform=axes.transAxes, fontsize=11.5, color=INK)
        if caption:
            footer(figure, caption)
        return save_figure(figure, out)


def _draw_maze(axes: Axes, maze: Maze) -> None:
    from matplotlib.patches import Circle, Rectangle

    rows, columns = maze.walls.shape
    half = maze.unit / 2
    left, bottom = maze.origin[0] - half, maze.origin[1] - half
    axes.add_patch(
        Rectangle((left, bottom), columns * maze.unit, rows * maze.unit, fc=FLOOR, ec="none")
    )
    for i, j in zip(*np.nonzero(maze.walls), strict=True):
        corner = (left + j * maze.unit, bottom + i * maze.unit)
        # The edge in the same colour closes the hairlines between neighbouring cells.
        axes.add_patch(Rectangle(corner, maze.unit, maze.unit, fc=WALL, ec=WALL, lw=0.8))
    axes.add_patch(Circle(maze.goal, maze.radius, fc=GOAL, ec="none", alpha=0.45, zorder=2))
    axes.plot(*maze.goal, marker="*", ms=17, color=GOAL, mec="white", mew=1, zorder=6)
    axes.plot(*maze.start, marker="o", ms=10, color="white", mec=INK, mew=2.2, zorder=6)
    for name, (x, y) in (("start", maze.start), ("goal", maze.goal)):
        axes.annotate(
            name,
            (x, y),
            xytext=(14, -9) if name == "start" else (-24, 0),
            textcoords="offset points",
            ha="left" if name == "start" else "right",
            va="center",
            fontsize=11,
            fontweight="bold",
            color=INK,
            zorder=7,
        )
    cut = (1 - MARGIN) * maze.unit
    axes.set_xlim(left + cut, left + columns * maze.unit - cut)
    axes.set_ylim(bottom + cut, bottom + rows * maze.unit - cut)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _draw_paths(axes: Axes, panel: Panel, color: str) -> None:
    for path, reached in zip(panel.paths, panel.reached, strict=True):
        axes.plot(path[:, 0], path[:, 1], color=color, lw=1.5, alpha=0.55, zorder=3)
        if not reached:
            axes.plot(*path[-1], marker="X", ms=9, color=color, mec="white", mew=1.2, zorder=5)
