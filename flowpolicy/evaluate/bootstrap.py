"""The confidence interval of a mean over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowpolicy.errors import ConfigError


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, *, resamples: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    r"""Percentile bootstrap interval of the mean.

    .. math:: \big[q_{(1-c)/2},\ q_{(1+c)/2}\big]\ \text{of}\ \bar x^* = \frac1n \sum_i x_{k_i},
        \qquad k_i \sim U\{1, \dots, n\}

    The resamples come from a generator of their own: the same values give the same interval.

    Args:
        values: one per seed, at least two.
        confidence: ``c``, the probability that the interval holds the true mean.
        resamples: how often ``n`` values are drawn with replacement.
        seed: of the draws.

    Raises:
        ConfigError: fewer than two values, or an impossible confidence or number of resamples.

    Example:
        >>> bootstrap_interval([0.0, 100.0])
        (0.0, 100.0)
        >>> bootstrap_interval([40.0, 50.0, 60.0]) == bootstrap_interval([40.0, 50.0, 60.0])
        True

    Source: B. Efron, Bootstrap methods: another look at the jackknife, 1979.
    """
    if len(values) < 2:
        raise ConfigError(
            f"bootstrap_interval: {len(values)} value{'' if len(values) == 1 else 's'}; the spread "
            "over seeds needs at least two"
        )
    if not 0 < confidence < 1 or resamples < 1:
        raise ConfigError(
            f"bootstrap_interval: confidence {confidence} must lie between 0 and 1, and "
            f"resamples {resamples} be at least 1"
        )
    known = np.asarray(values, dtype=np.float64)
    index = np.random.default_rng(seed).integers(len(known), size=(resamples, len(known)))
    means = known[index].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
