"""Options and fixtures of the measurements: threads, and turns that pytest-benchmark stores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from benchmarks.clock import Call, Timer, Turns


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flowpolicy benchmarks")
    group.addoption("--threads", type=int, default=1, help="of every library (default: 1)")
    group.addoption("--quick", action="store_true", help="few short turns, to see that all works")
    group.addoption(
        "--compile",
        nargs="*",
        default=["fql"],
        metavar="RECIPE",
        help="recipes that bench_update also compiles; `all` takes an hour (default: fql)",
    )


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(config.getoption("--threads"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker("bench")


@pytest.fixture(scope="session")
def threads(pytestconfig) -> int:
    return pytestconfig.getoption("--threads")


@pytest.fixture(scope="session")
def quick(pytestconfig) -> bool:
    return pytestconfig.getoption("--quick")


@pytest.fixture(scope="session")
def jax_cpu(threads):
    """JAX with as many threads; it counts the cores that it may use when its client is made."""
    pytest.importorskip("jax")
    with cores(threads):
        import jax

        jax.block_until_ready(jax.numpy.zeros(()))
        return jax


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Only ``count`` cores for what starts meanwhile, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture
def in_turn(benchmark, threads, quick) -> Callable[..., dict[str, list[float]]]:
    """Measures variants in turn and stores them with the benchmark.

    Before each of pytest-benchmark's rounds, which time one call of the first variant, every
    variant takes a turn. The turns are what ratios are made of: ``extra_info["values"]``. CPU time
    with one thread, wall time with more, or the ``timer`` given.

    At least 3 turns and at most 15, fewer where they would take longer than ``seconds``; each of a
    multiple of ``period`` calls.
    ``targets``: for other variants, how many times their cost the first may have.
    """

    def measure(
        variants: Mapping[str, Call],
        *,
        timer: Timer | None = None,
        seconds: float = 6.0,
        turn_seconds: float = 0.1,
        period: int = 1,
        targets: Mapping[str, float] | None = None,
        **facts: Any,
    ) -> dict[str, list[float]]:
        turns = Turns(
            variants,
            timer=timer or (time.process_time if threads == 1 else time.perf_counter),
            turn_seconds=turn_seconds / 10 if quick else turn_seconds,
            period=period,
        )
        started = time.perf_counter()
        turns.take()
        fitting = int(seconds / (time.perf_counter() - started))
        first = next(iter(variants.values()))
        rounds = 2 if quick else min(max(fitting, 2), 14)
        benchmark.pedantic(first, setup=turns.take, rounds=rounds)
        benchmark.extra_info.update(
            values=turns.values, threads=threads, targets=dict(targets or {}), **facts
        )
        return turns.values

    return measure
