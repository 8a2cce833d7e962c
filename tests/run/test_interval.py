"""Wilson's interval against its definition and published values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import Evaluation, pool, wilson_interval


@given(trials=st.integers(1, 500), data=st.data())
@settings(derandomize=True, deadline=None)
def test_the_ends_solve_the_score_equation(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    rate = successes / trials
    assert 0 <= low <= rate <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        # |p_hat - p| = z sqrt(p (1 - p) / n) is what defines the interval.
        z = abs(rate - end) / math.sqrt(end * (1 - end) / trials)
        assert z == pytest.approx(1.959964, abs=1e-5)


def test_known_values():
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson_interval(10, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)
    assert wilson_interval(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)


def test_less_confidence_is_narrower():
    narrow, wide = wilson_interval(7, 20, 0.5), wilson_interval(7, 20, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 4)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ConfigError, match=f"{successes} successes of {trials} trials; expected"):
        wilson_interval(successes, trials)


def test_impossible_confidence_is_refused():
    with pytest.raises(ConfigError, match="confidence 1.0 must lie between 0 and 1"):
        wilson_interval(1, 2, 1.0)


def test_pooling_joins_episodes():
    one = Evaluation((-1.0, -3.0), (1, 3), (True, False), 1.0)
    two = Evaluation((-5.0,), (5,), (False,), 2.0)
    both = pool([one, two])
    assert both == Evaluation((-1.0, -3.0, -5.0), (1, 3, 5), (True, False, False), 3.0)
    assert both.interval == wilson_interval(1, 3)
    assert (both.mean_return, both.mean_length) == (-3.0, 3.0)
    assert both.std_return == pytest.approx(math.sqrt(8 / 3))
    assert "success 0.33 (95 % 0.06 to 0.79)" in str(both)
    assert both.to_dict()["successes"] == [True, False, False]


def test_pooling_refuses_nothing():
    with pytest.raises(ConfigError, match="expected at least one evaluation, got none"):
        pool([])


def test_where_some_tell_of_success_the_others_had_none():
    known, unknown = Evaluation((0.0,), (1,), (True,), 0.0), Evaluation((0.0,), (1,), None, 0.0)
    assert pool([known, unknown]).successes == (True, False)
    assert pool([unknown, unknown]).success_rate is None
    assert str(unknown).startswith("return 0.0")
