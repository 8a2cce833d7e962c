"""What the evaluations of a run amount to."""

from __future__ import annotations

from flowpolicy.results.points import Point, pooled, read_points
from flowpolicy.results.score import Score, mean_over_tasks, score

__all__ = ("Point", "Score", "mean_over_tasks", "pooled", "read_points", "score")
