"""What the evaluations of a run amount to."""

from __future__ import annotations

from flowpolicy.results.over_seeds import OverSeeds
from flowpolicy.results.points import Point, pooled, read_points
from flowpolicy.results.score import Score, mean_over_tasks, score

__all__ = ("OverSeeds", "Point", "Score", "mean_over_tasks", "pooled", "read_points", "score")
