"""Pictures for people: learning curves, and mazes with trajectories."""

from __future__ import annotations

from flowpolicy.plot.curve import learning_curve
from flowpolicy.plot.maze import Maze, Panel, maze_picture
from flowpolicy.plot.style import COLORS, figure_style

__all__ = ("COLORS", "Maze", "Panel", "figure_style", "learning_curve", "maze_picture")
