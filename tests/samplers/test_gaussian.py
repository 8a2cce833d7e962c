"""Samplers on the one flow that is known in closed form: from N(0, 1) to N(m, s^2).

The velocity is v(x, t) = m + k(t) (x - t m) with k(t) = (t s^2 - (1 - t)) / (t^2 s^2 + (1 - t)^2),
and it carries z to m + s z.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import flowpolicy as fp

M, S = 0.2, 0.5


class GaussianField(nn.Module):
    obs_dim, act_dim = 1, 1

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        k = (time * S**2 - (1 - time)) / (time**2 * S**2 + (1 - time) ** 2)
        return M + k * (x_t - time * M)


NO_OBSERVATION = torch.zeros(5, 1, dtype=torch.float64)
NOISE = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64).unsqueeze(-1)


def test_ten_euler_steps_give_the_known_affine_map() -> None:
    """The left-point rule's deviation is 0.430783 where the flow's is 0.5."""
    end = fp.EulerSampler(GaussianField(), steps=10).raw(NO_OBSERVATION, NOISE)
    assert_close(end, M + 0.430783 * NOISE, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("sampler", "steps", "tolerance"),
    [
        (fp.EulerSampler, 2000, 1e-3),
        (fp.MidpointSampler, 100, 1e-5),
        (fp.HeunSampler, 100, 1e-4),
        (fp.RK4Sampler, 20, 1e-6),
    ],
)
def test_all_converge_to_the_flow(sampler, steps, tolerance) -> None:
    end = sampler(GaussianField(), steps=steps).raw(NO_OBSERVATION, NOISE)
    assert_close(end, M + S * NOISE, rtol=0, atol=tolerance)


def test_sampled_moments(generator) -> None:
    """Against 0.430783; a test against 0.5 would need a tolerance that hides mistakes."""
    n = 200_000
    z = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    x = fp.EulerSampler(GaussianField(), steps=10).raw(torch.zeros(n, 1), z)
    std = 0.430783
    assert abs((x.mean() - M) / (std / n**0.5)) < 4
    assert abs((x.std() - std) / (std / (2 * n) ** 0.5)) < 4


def test_the_field_is_the_minimiser_of_flow_matching(generator) -> None:
    """Its loss on data from N(m, s^2) cannot be lowered by any small affine change."""
    n = 200_000
    x0, e = torch.randn(2, n, 1, generator=generator, dtype=torch.float64)
    t = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    x_t, velocity = fp.LinearPath().sample(x0, M + S * e, t)
    residual = velocity - GaussianField().velocity(torch.zeros(n, 1), x_t, t)
    for feature in (torch.ones_like(t), x_t, t, x_t * t):
        product = residual * feature
        assert abs(product.mean() / (product.std() / n**0.5)) < 4
