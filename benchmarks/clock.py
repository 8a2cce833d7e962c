"""Measuring variants in turn, in one process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

Timer = Callable[[], float]
Call = Callable[[], object]


class Turns:
    """Variants that take turns, so that what disturbs one disturbs all.

    ``values`` holds, for each variant, what one call of it cost in each of its turns. A turn is as
    many calls as fill about ``turn_seconds``; the warm-up before it counts them.

    Args:
        variants: name to a call without arguments.
        timer: CPU seconds of this process unless told otherwise.
        turn_seconds: about how long a turn is.
        period: a turn has a multiple of so many calls, where one is not like the next.
    """

    def __init__(
        self,
        variants: Mapping[str, Call],
        *,
        timer: Timer = time.process_time,
        turn_seconds: float = 0.1,
        period: int = 1,
    ) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in variants}
        self._timer = timer
        self._variants = {
            name: (call, math.ceil(_warm_up(call, turn_seconds) / period) * period)
            for name, call in variants.items()
        }

    def take(self) -> None:
        """One turn of each."""
        for name, (call, repeats) in self._variants.items():
            start = self._timer()
            for _ in range(repeats):
                call()
            self.values[name].append((self._timer() - start) / repeats)


def _warm_up(call: Call, turn_seconds: float) -> int:
    """Calls a few times, then counts the calls that fit into a turn."""
    for _ in range(2):
        call()
    repeats, start = 0, time.perf_counter()
    while repeats == 0 or time.perf_counter() - start < turn_seconds:
        call()
        repeats += 1
    return repeats
