"""Under autocast networks take in and give out all digits, and compute in fewer between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.modules.fourier_features import FourierFeatures

S, A, X, T = torch.randn(64, 3), torch.rand(64, 2), torch.randn(64, 2), torch.rand(64, 1)
H = (32, 32)

NETWORKS: dict[str, tuple[nn.Module, Callable[[nn.Module], Tensor]]] = {
    "velocity": (fp.VelocityField(3, 2, H), lambda n: n.velocity(S, X, T)),
    "one step": (fp.OneStepActor(3, 2, H), lambda n: n.net(torch.cat([S, X], -1))),
    "critics": (fp.CriticEnsemble(3, 2, H), lambda n: n.values(S, A)),
    "value": (fp.ValueNetwork(3, H), lambda n: n.values(S)),
    "deterministic": (fp.DeterministicActor(3, 2, H), lambda n: n.net(S)),
    "gaussian mean": (fp.GaussianActor(3, 2, H), lambda n: n.net(S)[0]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_networks_give_out_has_the_digits_of_their_weights(name) -> None:
    network, call = NETWORKS[name]
    exact = call(network)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = call(network)
    assert coarse.dtype is torch.float32
    assert not torch.equal(coarse, coarse.bfloat16().float())  # more than eight bits
    assert not torch.equal(coarse, exact)  # but hidden layers have eight
    assert_close(coarse, exact, rtol=0.05, atol=0.05)


def test_small_differences_of_large_values_remain() -> None:
    critics = fp.CriticEnsemble(3, 2, H)
    with torch.no_grad():
        critics.net[-1].bias.fill_(-100.0)
        critics.net[-1].weight.mul_(0.1)
    with torch.autocast("cpu", torch.bfloat16):
        values = critics.values(S, A)
    assert values.unique().numel() > 100  # -100 and -99.5 in bfloat16


def test_small_differences_of_large_inputs_remain() -> None:
    value = fp.ValueNetwork(1, H)
    with torch.autocast("cpu", torch.bfloat16):
        first = value.net[0](torch.tensor([[36.0], [36.01]]))
    assert not torch.equal(first[0], first[1])


def test_phases_of_time_are_exact_under_autocast() -> None:
    features, n = FourierFeatures(), torch.arange(10.0).unsqueeze(-1)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = features(n)
    assert torch.equal(coarse, features(n))


def test_networks_on_no_device_know_no_autocast() -> None:
    with torch.device("meta"):
        assert fp.ValueNetwork(3, H).values(torch.zeros(4, 3)).shape == (4, 1)


def test_networks_in_double_keep_their_dtype_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert fp.ValueNetwork(3, H).double().values(S.double()).dtype is torch.float64
