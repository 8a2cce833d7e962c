"""Measuring variants in turn, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def fastest(
    variants: Mapping[str, Callable[[], object]],
    *,
    warm_up: int = 3,
    chunks: int = 15,
    chunk_seconds: float = 0.2,
) -> dict[str, float]:
    """CPU seconds of one call of each variant: the least over short chunks, taken in turn.

    Args:
        variants: name to a call without arguments.
        warm_up: calls before anything counts.
        chunks: how often each variant has its turn.
        chunk_seconds: about how long a turn is.
    """
    repeats = {}
    for name, call in variants.items():
        for _ in range(warm_up):
            call()
        repeats[name] = max(1, round(chunk_seconds / max(_cpu_seconds(call, 1), 1e-9)))
    least = dict.fromkeys(variants, float("inf"))
    for _ in range(chunks):
        for name, call in variants.items():
            least[name] = min(least[name], _cpu_seconds(call, repeats[name]))
    return least


def _cpu_seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats
