"""Variants take turns, each as many calls as fill one."""

from __future__ import annotations

from benchmarks.clock import Turns


class Clock:
    """Time that only the variants make pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def variant(self, name: str, seconds: float):
        def call() -> None:
            self.now += seconds
            self.log.append(name)

        return call

    def __call__(self) -> float:
        return self.now


def test_each_variant_has_its_turn_and_its_own_cost() -> None:
    clock = Clock()
    turns = Turns(
        {"slow": clock.variant("slow", 3.0), "fast": clock.variant("fast", 0.5)},
        timer=clock,
        turn_seconds=0.0,  # one call a turn
    )
    clock.log.clear()
    turns.take(), turns.take()
    assert clock.log == ["slow", "fast", "slow", "fast"]
    assert turns.values == {"slow": [3.0, 3.0], "fast": [0.5, 0.5]}


def test_a_turn_has_whole_periods() -> None:
    clock = Clock()
    Turns({"call": clock.variant("call", 1.0)}, timer=clock, turn_seconds=0.0, period=4).take()
    assert len(clock.log) == 2 + 1 + 4  # warming up, counting, the turn


def test_a_turn_is_filled_with_calls() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    turns = Turns({"call": call}, turn_seconds=0.005)
    warm = calls
    turns.take()
    assert warm > 10 and calls > warm + 10
