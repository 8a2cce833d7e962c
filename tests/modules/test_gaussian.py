"""Gaussian and deterministic policies against PyTorch's distributions and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.functional import tanh_log_derivative
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.gaussian import TanhGaussian
from flowpolicy.modules.keys import BatchKeys

OBS, ACT, HIDDEN = 3, 2, (8,)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(16, OBS, dtype=dtype), torch.randn(16, ACT, dtype=dtype)


@pytest.mark.parametrize("log_std_range", [None, (-5.0, 2.0)])
def test_a_gaussian_has_the_density_of_pytorchs(log_std_range) -> None:
    actor = fp.GaussianActor(OBS, ACT, HIDDEN, log_std_range=log_std_range).double()
    s, z = inputs()
    mean, log_std = actor.net(s)
    expected = Independent(Normal(mean, log_std.exp()), 1)
    action, log_prob = actor.sample(s, z)
    assert_close(action, mean + log_std.exp() * z)
    assert_close(log_prob.squeeze(-1), expected.log_prob(action))
    assert_close(actor.log_prob(s, action), log_prob)
    assert (log_std == 0).all() == (log_std_range is None)


def test_a_squashed_gaussian_has_the_density_of_pytorchs() -> None:
    actor = fp.TanhGaussianActor(OBS, ACT, HIDDEN).double()
    s, z = inputs()
    mean, log_std = actor.net(s)
    normal = Independent(Normal(mean, log_std.exp()), 1)
    expected = TransformedDistribution(normal, [TanhTransform()])
    action, log_prob = actor.sample(s, z)
    assert_close(log_prob.squeeze(-1), expected.log_prob(action))
    assert_close(actor.log_prob(s, action), log_prob)


def test_the_density_of_a_squashed_gaussian_integrates_to_one() -> None:
    actor = fp.TanhGaussianActor(1, 1, HIDDEN).double()
    grid = torch.linspace(-1 + 1e-5, 1 - 1e-5, 200_001, dtype=torch.float64).unsqueeze(-1)
    density = actor.log_prob(torch.zeros(1, 1).double().expand(len(grid), 1), grid).exp()
    assert torch.trapezoid(density.flatten(), grid.flatten()).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_out_everything_stays_finite(dtype) -> None:
    distribution = fp.TanhGaussian(*(torch.full((1, ACT), x, dtype=dtype) for x in (60.0, 2.0)))
    action, log_prob = distribution.sample(torch.ones(1, ACT, dtype=dtype))
    assert (action == 1).all()
    assert log_prob.isfinite().all()
    border = torch.tensor([[-1.0, 1.0]], dtype=dtype)
    assert distribution.log_prob(border).isfinite().all()
    assert torch.equal(distribution.log_prob(border), distribution.log_prob(border * (1 - 1e-5)))
    x = torch.tensor([[100.0]], dtype=dtype)
    assert tanh_log_derivative(x).item() == pytest.approx(2 * math.log(2) - 200)


def test_log_standard_deviations_stay_within_their_range() -> None:
    actor = fp.TanhGaussianActor(OBS, ACT, HIDDEN, log_std_range=(-0.1, 0.2))
    with torch.no_grad():
        actor.net.log_std.weight.mul_(100)
    _, log_std = actor.net(torch.randn(64, OBS))
    assert_close(log_std.aminmax(), torch.return_types.aminmax(torch.tensor([-0.1, 0.2])))


def test_modes() -> None:
    s, _ = inputs(torch.float32)
    nothing = torch.empty(16, 0)
    squashed = fp.TanhGaussianActor(OBS, ACT, HIDDEN)
    assert torch.equal(squashed.mode.act(s, nothing), squashed.net(s)[0].tanh())
    gaussian = fp.GaussianActor(OBS, ACT, HIDDEN)
    assert torch.equal(gaussian.mode.raw(s, nothing), gaussian.net(s)[0])
    still = fp.DeterministicActor(OBS, ACT, HIDDEN)
    assert still.mode is fp.NoisyActor(still).mode is still
    assert gaussian.mode.trained is gaussian
    renamed = fp.GaussianActor(OBS, ACT, HIDDEN).set_keys(observation="obs", action="act")
    assert "act" in renamed.mode(TensorDict(obs=s, batch_size=[16]))


def test_heads_start_small_where_asked() -> None:
    torch.manual_seed(0)
    wide, small = (fp.TanhGaussianActor(OBS, 64, (64,), head_gain=g) for g in (1.0, 0.1))
    bound = math.sqrt(6 / (64 + 64))
    for head in ("mean", "log_std"):
        assert 0.9 * bound < getattr(wide.net, head).weight.abs().max() <= bound
        assert 0.09 * bound < getattr(small.net, head).weight.abs().max() <= 0.1 * bound
    actor = fp.DeterministicActor(OBS, 64, (64,), head_gain=0.1)
    assert 0.09 * bound < actor.net[-1].weight.abs().max() <= 0.1 * bound


def test_noise_is_clipped() -> None:
    actor = fp.DeterministicActor(OBS, ACT, HIDDEN)
    noisy = fp.NoisyActor(actor, std=0.2, clip=0.5)
    s = torch.zeros(3, OBS)  # zero biases: the action is zero too
    z = torch.tensor([[1.0, -1.0], [10.0, -10.0], [0.0, 2.0]])
    expected = torch.tensor([[0.2, -0.2], [0.5, -0.5], [0.0, 0.4]])
    assert_close(noisy.act(s, z), expected)
    still = fp.NoisyActor(actor, std=0.0)
    assert not still.is_random
    assert torch.equal(still.act(s, z[:, :0]), actor.act(s, z[:, :0]))


# -- edits -------------------------------------------------------------------------------------


def edited(scale: float) -> fp.EditActor:
    flow = fp.EulerSampler(fp.VelocityField(OBS, ACT, HIDDEN), 3)
    return fp.EditActor(flow, fp.TanhGaussianActor(OBS + ACT, ACT, HIDDEN), scale)


def test_an_edit_of_scale_zero_is_the_base() -> None:
    actor = edited(0.0)
    s, noise = torch.randn(16, OBS), torch.randn(16, 2, ACT)
    assert torch.equal(actor.act(s, noise), actor.base.act(s, noise[:, 0]))


def test_an_edit_is_scaled_after_its_log_probability() -> None:
    s, noise = torch.randn(16, OBS), torch.randn(16, 2, ACT)
    actor = edited(0.3)
    base = actor.base.act(s, noise[:, 0])
    edit, log_prob = actor.edit.sample(torch.cat([s, base], -1), noise[:, 1])
    action, reported = actor.sample(s, noise)
    assert_close(action, base + 0.3 * edit)
    assert torch.equal(reported, log_prob)
    action.sum().backward()
    assert all(p.grad is None for p in actor.base.parameters())
    assert all(p.grad is not None for p in actor.edit.net.trunk.parameters())


# -- entropy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [-3.0, 1.0])
def test_the_learned_coefficient_brings_the_entropy_to_its_target(target: float) -> None:
    """Against a critic that wants one action, the entropy settles where it was told to."""
    torch.manual_seed(0)
    actor = fp.TanhGaussianActor(OBS, ACT, (16,))
    critic = fp.CriticEnsemble(OBS, ACT, (16,), size=1)
    with torch.no_grad():
        critic.net[-1].weight.mul_(20)
    entropy = fp.EntropyLoss(actor, coefficient=fp.LearnedCoefficient())
    agent = fp.Agent(
        policy=actor,
        losses=[fp.DPGLoss(actor, critic), entropy, fp.DualLoss(entropy, limit=-target)],
        optimizer=lambda named: torch.optim.Adam(named, lr=1e-2),
    )
    batch = TensorDict(observation=torch.randn(128, OBS), batch_size=[128])
    measured = [agent.update(batch)["entropy_estimate"].item() for _ in range(600)]
    assert abs(measured[0] - target) > 0.2
    assert sum(measured[-50:]) / 50 == pytest.approx(target, abs=0.15)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: fp.TanhGaussianActor(OBS, ACT, HIDDEN, log_std_range=(2.0, -5.0)),
            r"TanhGaussianActor: log_std_range must be .* with low < high, got .2.0, -5.0.",
        ),
        (
            lambda: fp.GaussianActor(OBS, ACT, HIDDEN, log_std_range=5),
            r"GaussianActor: log_std_range must be \(low, high\) with low < high, got 5",
        ),
        (
            lambda: fp.GaussianActor(OBS, ACT, HIDDEN, log_std_range=(0.0, 1.0, 2.0)),
            "GaussianActor: log_std_range must be .* got .0.0, 1.0, 2.0.",
        ),
        (
            lambda: fp.GaussianActor(OBS, ACT, HIDDEN, head_gain=0.0),
            "GaussianActor: head_gain must be a finite number above 0",
        ),
        (
            lambda: fp.ModeActor(fp.OneStepActor(OBS, ACT, HIDDEN)),
            "ModeActor: actor must be a DensityActor, got OneStepActor. Pass a GaussianActor",
        ),
        (
            lambda: fp.NoisyActor(fp.GaussianActor(OBS, ACT, HIDDEN)),
            "NoisyActor: GaussianActor draws noise of its own already.*actor.mode",
        ),
        (
            lambda: fp.NoisyActor(fp.DeterministicActor(OBS, ACT, HIDDEN), std=-0.1),
            "NoisyActor: std must be finite and at least 0, got -0.1",
        ),
        (
            lambda: edited(-0.1),
            "EditActor: scale must be finite and at least 0, got -0.1",
        ),
        (
            lambda: fp.EditActor(
                edited(0.1).base, fp.TanhGaussianActor(OBS, ACT, HIDDEN), scale=0.1
            ),
            "the edit sees the observation and the base's action, so it needs obs_dim=5, act_dim=2",
        ),
        (
            lambda: fp.EditActor(
                fp.DeterministicActor(OBS, ACT, HIDDEN), edited(0.1).edit, scale=0.1
            ),
            r"base and edit must each draw noise \(2,\), but their noise_shapes are \(0,\) and",
        ),
        (
            lambda: fp.EntropyLoss(fp.OneStepActor(OBS, ACT, HIDDEN)),
            "EntropyLoss: actor must be a StochasticActor, got OneStepActor. Pass one with log-",
        ),
    ],
)
def test_meaningless_parts_are_refused(make, message) -> None:
    with pytest.raises(fp.ConfigError, match=message):
        make()


DENSE = [fp.GaussianActor(OBS, ACT, HIDDEN), fp.TanhGaussianActor(OBS, ACT, HIDDEN)]


@pytest.mark.parametrize("actor", DENSE)
@pytest.mark.parametrize("shape", [(4, 1), (ACT,), (1, ACT), (5, 4, ACT)])
def test_actions_that_would_broadcast_have_no_density(actor, shape) -> None:
    with pytest.raises(fp.ShapeError, match=f"{actor.name}: .*'action'"):
        actor.log_prob(torch.zeros(4, OBS), torch.zeros(shape))


@pytest.mark.parametrize("actor", DENSE)
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_actions_of_another_dtype_have_no_density(actor, dtype) -> None:
    told = f"{actor.name}: 'action' is {str(dtype)[6:]} but the parameters are float32"
    with pytest.raises(fp.DtypeError, match=told):
        actor.log_prob(torch.zeros(4, OBS), torch.zeros(4, ACT, dtype=dtype))


@pytest.mark.parametrize("actor", [*DENSE, fp.NoisyActor(fp.DeterministicActor(OBS, ACT, HIDDEN))])
def test_noise_of_another_dtype_is_refused(actor) -> None:
    s, z = torch.zeros(4, OBS), torch.zeros(4, ACT, dtype=torch.float64)
    told = f"{actor.name}: 'noise' is float64 but the parameters are float32"
    with pytest.raises(fp.DtypeError, match=told):
        actor.act(s, z)
    batch = TensorDict(observation=s, noise=z, batch_size=[4])
    with pytest.raises(fp.DtypeError, match=told):
        EvaluatedBatch(batch, BatchKeys()).policy_action(actor)


@pytest.mark.parametrize("actor", DENSE)
def test_densities_compile_without_a_break(actor) -> None:
    torch._dynamo.reset()
    s, a = torch.randn(4, OBS), torch.rand(4, ACT)
    compiled = torch.compile(actor.log_prob, fullgraph=True, backend="eager")
    assert torch.equal(compiled(s, a), actor.log_prob(s, a))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_actions_at_the_border_have_a_density_in_half_precision(dtype) -> None:
    distribution = TanhGaussian(torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 2, dtype=dtype))
    assert distribution.log_prob(torch.tensor([[1.0, -1.0]], dtype=dtype)).isfinite().all()
