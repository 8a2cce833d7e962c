"""Many runs compared: every method of a suite, one method over a coefficient, or all of a grid."""

from __future__ import annotations

from flowpolicy.benchmark.backends import Backend, LocalBackend
from flowpolicy.benchmark.benchmark import Report, repeat, report, run_benchmark
from flowpolicy.benchmark.cell import HeldError
from flowpolicy.benchmark.grid import Grid
from flowpolicy.benchmark.ray_backend import RayBackend
from flowpolicy.benchmark.search_space import SearchSpace
from flowpolicy.benchmark.sensitivity import run_sensitivity, sensitivity_report
from flowpolicy.benchmark.suite import Suite
from flowpolicy.benchmark.sweep import run_one, run_sweep, sweep_report

__all__ = (
    "Backend",
    "Grid",
    "HeldError",
    "LocalBackend",
    "RayBackend",
    "Report",
    "SearchSpace",
    "Suite",
    "repeat",
    "report",
    "run_benchmark",
    "run_one",
    "run_sensitivity",
    "run_sweep",
    "sensitivity_report",
    "sweep_report",
)
