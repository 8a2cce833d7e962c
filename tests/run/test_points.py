"""What an evaluation was, in the table of a run and in what is made of that."""

from __future__ import annotations

import math

import pytest

from flowpolicy.demo import _score
from flowpolicy.evaluate import Evaluation, wilson_interval
from flowpolicy.results import Point
from flowpolicy.results.points import pooled
from flowpolicy.train.records import evaluation_row

RETURNS = (-4.0, -8.0, -6.0, -6.0)
"""Their mean is -6, their deviation the root of 2."""


@pytest.mark.parametrize("successes", [(True, False, True, True), None])
def test_a_row_of_evaluations(successes) -> None:
    result = Evaluation(RETURNS, (3, 5, 4, 4), successes, seconds=1.23456)
    low, high = wilson_interval(3, 4)
    of_success = {"success": 0.75, "low": low, "high": high, "successes": 3}
    assert evaluation_row(200, 50, "flow", result) == {
        "step": 200,
        "env_steps": 50,
        "actor": "flow",
        **(of_success if successes else dict.fromkeys(of_success)),
        "episodes": 4,
        "return": -6.0,
        "return_std": pytest.approx(math.sqrt(2)),
        "length": 4.0,
        "seconds": 1.235,
    }


def test_the_demo_adds_the_successes_of_its_seeds() -> None:
    last = [Point(100, successes, 10, mean=-8.0, std=1.0) for successes in (3, 5)]
    score = _score("flow", last)
    assert (score.actor, score.name) == ("flow", "Flow behaviour clone")
    assert (score.successes, score.episodes, score.per_seed) == (8, 20, (0.3, 0.5))
    assert score.success_rate == 0.4
    assert (score.low, score.high) == wilson_interval(8, 20)


def test_a_point_is_drawn_with_its_interval() -> None:
    returns = Point(10, None, episodes=16, mean=3.0, std=2.0)
    assert returns.value == 3.0
    assert returns.band == pytest.approx((3.0 - 0.98, 3.0 + 0.98))  # 1.96 * 2 / 4
    success = Point(10, 5, episodes=20, mean=3.0, std=2.0)
    assert success.value == 25.0
    assert success.band == pytest.approx([100 * end for end in wilson_interval(5, 20)])


def test_seeds_are_pooled_by_their_episodes() -> None:
    """Returns 0 and 2 of one seed, and four of 7: mean 5, mean square (0 + 4 + 4 * 49) / 6."""
    one = [Point(10, 1, episodes=2, mean=1.0, std=1.0), Point(20, 2, 2, 5.0, 0.0)]
    other = [Point(10, 4, episodes=4, mean=7.0, std=0.0)]
    (point,) = pooled([one, other])  # the second moment is not one of both
    std = pytest.approx(math.sqrt(200 / 6 - 25))
    assert point == Point(10, 5, episodes=6, mean=5.0, std=std)
    (silent,) = pooled([other, [Point(10, None, 2, 1.0, 1.0)]])
    assert (silent.successes, silent.episodes) == (None, 6)
