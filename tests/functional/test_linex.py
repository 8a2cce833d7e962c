"""LINEX regression finds the soft maximum of its targets."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp

TARGETS = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64).view(1, 4, 1)


def slope(value: float, temperature: float, targets: torch.Tensor = TARGETS) -> float:
    """The derivative of the mean error in one value shared by all targets."""
    q = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    fp.LinexError(temperature)(q.expand_as(targets), targets).mean().backward()
    return q.grad.item()


@pytest.mark.parametrize("temperature", [0.7, 1.0, 100.0])
def test_its_minimiser_is_the_soft_maximum(temperature) -> None:
    soft = temperature * (TARGETS / temperature).exp().mean().log().item()
    assert slope(soft, temperature) == pytest.approx(0, abs=1e-12)
    assert slope(soft - 0.1, temperature) < 0 < slope(soft + 0.1, temperature)
    if temperature == 100.0:
        assert soft == pytest.approx(TARGETS.mean().item(), abs=0.01)


def test_by_hand_below_and_beyond_the_limit() -> None:
    error = fp.LinexError(temperature=0.5, limit=3.0)
    values = torch.tensor([1.0, -1.0]).view(2, 1, 1)
    targets = torch.tensor([1.5, 2.0]).view(2, 1, 1)  # exponents 1 and 6
    expected = ((torch.tensor(1.0).exp() + 2.0) + 6.0) / 2
    assert error(values, targets).item() == pytest.approx(expected.item())


def test_a_far_target_gives_a_bounded_gradient() -> None:
    assert slope(0.0, 1.0, torch.full((1, 1, 1), 1e6, dtype=torch.float64)) == -1.0
    assert slope(1e6, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 1.0, "limit": -1.0}])
def test_impossible_values_are_refused(options) -> None:
    with pytest.raises(fp.ConfigError, match="LinexError: .* must be a finite number above 0"):
        fp.LinexError(**options)
