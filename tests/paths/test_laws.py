"""Laws have the moments and the shape of their distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.special import ndtr

import flowpolicy as fp

LAWS = [
    (fp.UniformTime(), lambda t: t),
    (fp.BetaTime(1.0, 1.5), lambda t: 1 - (1 - t) ** 1.5),
    (fp.BetaTime(2.0, 1.0), lambda t: t**2),
    (fp.LogitNormalTime(), lambda t: ndtr(torch.logit(t))),
    (fp.LogitNormalTime(-1.0, 0.5), lambda t: ndtr((torch.logit(t) + 1) / 0.5)),
    (fp.GaussianNoise(), ndtr),
]


@pytest.mark.parametrize(("law", "distribution"), LAWS)
def test_kolmogorov_smirnov(law, distribution, generator) -> None:
    n = 20_000
    drawn = law.sample((n,), dtype=torch.float64, device=torch.device("cpu"), generator=generator)
    below = distribution(drawn.sort().values)
    ranks = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert (below - ranks).abs().max() < 1.95 / math.sqrt(n)  # exceeded once in a thousand seeds


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda x: fp.BetaTime(a=x), "BetaTime: a"),
        (lambda x: fp.BetaTime(b=x), "BetaTime: b"),
        (lambda x: fp.LogitNormalTime(std=x), "LogitNormalTime: std"),
    ],
)
def test_impossible_parameters_are_refused(make, named, value) -> None:
    with pytest.raises(fp.ConfigError, match=f"{named} must be a finite number above 0"):
        make(value)


def test_a_draw_adds_the_batch_shape() -> None:
    draw = fp.Draw((4, 2), fp.GaussianNoise())
    assert draw.sample((3,), dtype=torch.float32, device=torch.device("cpu")).shape == (3, 4, 2)
    assert draw != fp.Draw((4, 2), fp.UniformTime())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_times_are_drawn_in_half_precision_too(dtype) -> None:
    for law in (fp.UniformTime(), fp.BetaTime(), fp.LogitNormalTime()):
        time = law.sample((1000, 1), dtype=dtype, device=torch.device("cpu"))
        assert time.dtype == dtype and 0.2 < time.float().mean() < 0.8
