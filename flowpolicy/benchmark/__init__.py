"""Many runs compared: every method of a suite, or one method over a coefficient."""

from __future__ import annotations

from flowpolicy.benchmark.benchmark import Report, repeat, report, run_benchmark
from flowpolicy.benchmark.suite import Suite

__all__ = ("Report", "Suite", "repeat", "report", "run_benchmark")
