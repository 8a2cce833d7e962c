"""The confidence interval of a success rate."""

from __future__ import annotations

import math
from statistics import NormalDist

from flowpolicy.errors import ConfigError


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Wilson's score interval of a proportion.

    .. math::
        \frac{1}{1 + z^2/n}\left(\hat p + \frac{z^2}{2n}
        \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}\right),
        \qquad \hat p = \frac{k}{n}

    Unlike the normal approximation it stays inside [0, 1] and has a width at 0 and n successes.

    Args:
        successes: k, how many of the trials succeeded.
        trials: n, at least 1.
        confidence: Probability that the interval holds the true rate; z is its normal quantile.

    Raises:
        ConfigError: There is no trial, or more successes than trials.

    Example:
        >>> low, high = wilson_interval(18, 20)
        >>> round(low, 3), round(high, 3)
        (0.699, 0.972)
        >>> wilson_interval(0, 20)[0]
        0.0

    Source: E. B. Wilson, Probable inference, the law of succession, and
    statistical inference, 1927.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ConfigError(
            f"wilson_interval: {successes} successes of {trials} trials; expected at least one "
            "trial and no more successes than trials"
        )
    if not 0 < confidence < 1:
        raise ConfigError(f"wilson_interval: confidence {confidence} must lie between 0 and 1")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the ends the two terms are equal; rounding must not push the interval past them.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high
