"""Losses against numbers worked out by hand on linear networks."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.testing import assert_close
from torchrl.data import MultiStep

import flowpolicy as fp
from tests.contracts.factories import Parts, transitions, with_noise

DOUBLE = {"dtype": torch.float64}


def set_linear(layer: torch.nn.Module, weight: list[list[float]], bias: list[float]) -> None:
    """Set ``y = W x + b``; an ensemble's layer holds the transposed weight of every member."""
    w, b = torch.tensor(weight, **DOUBLE), torch.tensor(bias, **DOUBLE)
    with torch.no_grad():
        if layer.weight.ndim == 3:
            layer.weight.copy_(w.T.expand_as(layer.weight))
            layer.bias.copy_(b.expand_as(layer.bias))
        else:
            layer.weight.copy_(w)
            layer.bias.copy_(b)


# -- gradient through all Euler steps and the clip: FBRAC --------------------------------------

C, B0, SLOPE, STEPS, ALPHA = -0.7, 0.3, 1.7, 4, 2.5
NOISE = torch.tensor([[-0.9], [0.2], [0.5], [4.0]], **DOUBLE)  # the last one's action is clipped
X0 = torch.tensor([[0.1], [-0.4], [1.0], [0.0]], **DOUBLE)
TIME = torch.tensor([[0.0], [0.3], [0.5], [0.9]], **DOUBLE)
ACTION = torch.tensor([[0.5], [-0.5], [0.2], [0.0]], **DOUBLE)


def linear_fbrac() -> tuple[fp.Agent, TensorDict]:
    """v(s, x, t) = c x + b and Q(s, a) = w a, both critics alike."""
    agent = fp.agents.fbrac(
        1, 1, hidden=(), flow_steps=STEPS, alpha=ALPHA, scale=fp.unit_scale
    ).double()
    set_linear(agent.networks["field"].net[0], [[0.0, C, 0.0]], [B0])
    for critic in (agent.networks["critic"], agent.targets["critic"].network):
        set_linear(critic.net[0], [[0.0, SLOPE]], [0.0])
    zeros = torch.zeros(4, 1, **DOUBLE)
    step = {"observation": zeros, "reward": zeros, "terminated": zeros.bool(), "noise": zeros}
    batch = TensorDict(
        observation=zeros, action=ACTION, next=step, noise=NOISE, x0=X0, time=TIME, batch_size=[4]
    )
    return agent, batch


def unrolled() -> tuple[Tensor, Tensor, Tensor]:
    """The end of the Euler chain and its derivatives in c and b, by the sums of the recursion.

    x_K = r^K z + h b sum_i r^i with r = 1 + h c, hence dx/db = h sum_i r^i and
    dx/dc = K h r^(K-1) z + h b sum_i i h r^(i-1).
    """
    h, r = 1 / STEPS, 1 + C / STEPS
    geometric = sum(r**i for i in range(STEPS))
    slopes = sum(i * h * r ** (i - 1) for i in range(1, STEPS))
    end = r**STEPS * NOISE + h * B0 * geometric
    return end, STEPS * h * r ** (STEPS - 1) * NOISE + h * B0 * slopes, h * geometric + 0 * NOISE


def test_fbrac_by_hand() -> None:
    agent, batch = linear_fbrac()
    end, d_c, d_b = unrolled()
    inside = (end.abs() < 1).double()
    assert inside.flatten().tolist() == [1, 1, 1, 0]
    x_t = (1 - TIME) * X0 + TIME * ACTION
    residual = C * x_t + B0 - (ACTION - X0)

    metrics = agent.update(batch)

    assert metrics["loss_dpg"].item() == pytest.approx(-SLOPE * end.clamp(-1, 1).mean().item())
    assert metrics["loss_flow"].item() == pytest.approx(ALPHA * residual.square().mean().item())
    weight, bias = (p.grad for p in agent.networks["field"].parameters())
    by_c = ALPHA * (2 * residual * x_t).mean() - SLOPE * (inside * d_c).mean()
    by_b = ALPHA * (2 * residual).mean() - SLOPE * (inside * d_b).mean()
    assert weight[0, 1].item() == pytest.approx(by_c.item(), rel=1e-12)
    assert bias.item() == pytest.approx(by_b.item(), rel=1e-12)


def test_fbracs_critic_bootstraps_from_the_flows_next_action() -> None:
    agent, batch = linear_fbrac()
    batch["next", "noise"] = NOISE
    batch["next", "reward"] = torch.full((4, 1), -1.0, **DOUBLE)
    target = -1.0 + 0.99 * SLOPE * unrolled()[0].clamp(-1, 1)
    expected = (SLOPE * ACTION - target).square().mean().item()
    assert agent.loss(batch)["loss_qvalue"].item() == pytest.approx(expected, rel=1e-12)


# -- derivatives by finite differences ---------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: fp.DPGLoss(p.flow, p.critic),
        lambda p: fp.DPGLoss(p.flow, p.critic, aggregation=fp.Pessimistic(0.5)),
        lambda p: fp.DPGLoss(fp.RK4Sampler(p.field, steps=2), p.critic),
        lambda p: fp.DPGLoss(p.actor, p.critic),
        lambda p: fp.DistillLoss(p.actor, teacher=p.flow, coefficient=3.0),
        lambda p: fp.FlowMatchingLoss(p.field, fp.AffinePath(fp.CosineSchedule())),
        lambda p: fp.TDLoss(p.critic, p.target, next_actor=p.actor),
        lambda p: fp.ExpectileLoss(p.value, p.target, expectile=0.7),
    ],
    ids=["dpg-flow", "dpg-pessimistic", "dpg-rk4", "dpg", "distill", "flow", "td", "expectile"],
)
def test_gradients_by_finite_differences(make) -> None:
    loss = make(Parts().double()).double()
    batch = with_noise(transitions(3, dtype=torch.float64), loss.draws())
    parameters = list(loss.parameters())
    loss(batch)[f"loss_{loss.name}"].backward()
    assert any(parameter.grad.abs().sum() > 0 for parameter in parameters)
    for parameter in parameters:
        direction = torch.randn_like(parameter)
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
                values.append(loss(batch)[f"loss_{loss.name}"].item())
                parameter.sub_(direction, alpha=step)
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((parameter.grad * direction).sum().item(), rel=1e-6, abs=1e-8)


# -- targets of the critics --------------------------------------------------------------------


def test_n_step_rows_discount_by_their_own_length() -> None:
    p = Parts().double()
    loss = fp.TDLoss(p.critic, next_value=p.value, discount=0.9, reduction="none").double()
    batch = transitions(4, dtype=torch.float64)
    batch["next", "terminated"] = torch.tensor([[False], [False], [False], [True]])
    steps = torch.tensor([[1], [3], [10], [3]])
    values = p.critic.values(batch["observation"], batch["action"])
    v = p.value.values(batch["next", "observation"])
    alive = torch.tensor([[1.0], [1.0], [1.0], [0.0]], **DOUBLE)
    one_step = batch["next", "reward"] + 0.9 * alive * v
    assert_close(loss(batch)["loss_qvalue"], (values - one_step).square().mean(0))
    batch["steps_to_next_obs"] = steps
    n_step = batch["next", "reward"] + 0.9 ** steps.double() * alive * v
    assert_close(loss(batch)["loss_qvalue"], (values - n_step).square().mean(0))


def test_errors_of_single_rows_for_their_priorities() -> None:
    p = Parts().double()
    loss = fp.TDLoss(p.critic, p.target, next_actor=p.actor, reduction="none").double()
    batch = with_noise(transitions(4, dtype=torch.float64), loss.draws())
    batch["priority_weight"] = torch.rand(4, **DOUBLE)
    keys = set(batch.keys(include_nested=True))
    errors = loss.td_errors(batch)
    assert errors.shape == (4,) and not errors.requires_grad
    weighted = errors.square() * batch["priority_weight"]
    assert_close(loss(batch)["loss_qvalue"].squeeze(-1), weighted)
    assert set(batch.keys(include_nested=True)) == keys


def test_windows_of_torchrl_that_lose_their_ends_are_refused() -> None:
    p = Parts()
    loss = fp.TDLoss(p.critic, next_value=p.value)
    rows = transitions(8)
    rows["next", "done"] = torch.zeros(8, 1, dtype=torch.bool)
    rows["next", "done"][5] = rows["next", "terminated"][5] = True
    windows = MultiStep(gamma=0.99, n_steps=3)(rows)
    assert not windows["next", "terminated"][4]  # though it ends in a terminal state
    with pytest.raises(fp.ShapeError, match="as TorchRL's MultiStep writes it"):
        loss(windows)


def test_the_end_of_a_recording_is_no_termination() -> None:
    p = Parts()
    loss = fp.TDLoss(p.critic, p.target, next_actor=p.actor)
    batch = with_noise(transitions(8), loss.draws())
    expected = loss(batch)["loss_qvalue"]
    for key in ("truncated", "done"):
        batch["next", key] = torch.ones(8, 1, dtype=torch.bool)
    assert torch.equal(loss(batch)["loss_qvalue"], expected)


def test_critics_are_aggregated_before_policies_are_combined() -> None:
    p = Parts()
    loss = fp.TDLoss(
        p.critic,
        p.target,
        next_actor=(p.actor, p.flow),
        aggregation=fp.min_value,
        combine=fp.mean_value,
    )
    batch = with_noise(transitions(8), loss.draws())
    s, z = batch["next", "observation"], batch["next", "noise"]
    by_policy = [p.target.values(s, each.act(s, z)).amin(0) for each in (p.actor, p.flow)]
    assert_close(loss(batch)["qvalue_next"], torch.stack(by_policy).mean())


# -- what is clipped, and what is shared -------------------------------------------------------


def wide_actor() -> tuple[Parts, TensorDict]:
    """An actor far outside the box."""
    p = Parts()
    with torch.no_grad():
        p.actor.net[-1].bias.fill_(3.0)
    return p, TensorDict(observation=torch.randn(8, 3), noise=torch.randn(8, 2), batch_size=[8])


def test_distillation_compares_the_unclipped_student_with_the_clipped_teacher() -> None:
    p, batch = wide_actor()
    s, z = batch["observation"], batch["noise"]
    expected = (p.actor.raw(s, z) - p.flow.act(s, z)).square().mean()
    loss = fp.DistillLoss(p.actor, teacher=p.flow, coefficient=10.0)
    out = loss(batch)
    assert_close(out["distill_error"], expected)
    assert_close(out["loss_distill"], 10 * expected)
    out["loss_distill"].backward()  # pulls the student back into the box
    assert p.actor.net[-1].bias.grad.min() > 0


def test_the_critic_sees_the_clipped_action_and_gives_no_gradient_outside_the_box() -> None:
    p, batch = wide_actor()
    s, z = batch["observation"], batch["noise"]
    assert p.actor.raw(s, z).min() > 1
    out = fp.DPGLoss(p.actor, p.critic)(batch)
    assert_close(out["loss_dpg"], -p.critic.values(s, torch.ones(8, 2)).mean())
    out["loss_dpg"].backward()
    assert all((parameter.grad == 0).all() for parameter in p.actor.parameters())


@pytest.mark.parametrize("of", [fp.inverse_mean_abs, lambda q: q.abs().mean().reciprocal()])
def test_the_scale_carries_no_gradient(of) -> None:
    p = Parts()
    batch = TensorDict(observation=torch.randn(8, 3), noise=torch.randn(8, 2), batch_size=[8])
    plain = fp.DPGLoss(p.actor, p.critic)(batch)
    scaled = fp.DPGLoss(p.actor, p.critic, scale=of)(batch)
    q = p.critic.values(batch["observation"], p.actor.act(batch["observation"], batch["noise"]))
    scale = 1 / q.mean(0).abs().mean()
    assert_close(scaled["dpg_scale"], scale.detach())
    parameters = list(p.actor.parameters())
    unscaled = torch.autograd.grad(plain["loss_dpg"], parameters)
    for ours, theirs in zip(
        torch.autograd.grad(scaled["loss_dpg"], parameters), unscaled, strict=True
    ):
        assert_close(ours, scale * theirs)


def test_weights_are_not_normalised_over_the_batch() -> None:
    p = Parts()
    weight = fp.ValueAwareWeight(p.target, critic=p.critic, reference=p.actor, temperature=1e12)
    loss = fp.FlowMatchingLoss(p.field, weight=weight)
    batch = with_noise(transitions(8), loss.draws())
    out, plain = loss(batch), fp.FlowMatchingLoss(p.field)(batch)
    assert_close(out["loss_flow"], 0.5 * plain["loss_flow"])
    assert out["flow_weight"].item() == 0.5


# -- FQL with a strong behaviour term ----------------------------------------------------------


def test_a_large_alpha_leaves_only_the_flows_map() -> None:
    """The actor's gradient turns to that of distillation alone, and following it gives the map."""
    agent = fp.agents.fql(3, 2, hidden=(32,), flow_steps=3, alpha=1e8, lr=1e-2)
    batch = with_noise(transitions(64), agent.loss.draws())
    out = agent.loss(batch)
    parameters = list(agent.networks["actor"].parameters())
    both = torch.autograd.grad(out["loss_distill"] + out["loss_dpg"], parameters, retain_graph=True)
    alone = torch.autograd.grad(out["loss_distill"], parameters)
    flat = [torch.cat([g.flatten() for g in gradients]) for gradients in (both, alone)]
    assert torch.cosine_similarity(*flat, dim=0) > 1 - 1e-6

    next(loss for loss in agent.loss.losses if loss.name == "flow").coefficient = 0.0
    s, z = torch.randn(256, 3), torch.randn(256, 2)
    teacher = agent.actors["flow"].act(s, z)  # stays as it is
    before = (agent.act(s, z) - teacher).square().mean()
    for seed in range(300):
        agent.update(transitions(128, seed=seed))
    assert torch.equal(agent.actors["flow"].act(s, z), teacher)
    assert (agent.act(s, z) - teacher).square().mean() < 0.05 * before
