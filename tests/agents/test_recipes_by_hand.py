"""Recipes of which no update was recorded, against their equations in plain PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import batch_for, shaken
from tests.contracts.factories import ACT, OBS

GAMMA = 0.9


def built(name: str, **options: Any) -> tuple[fp.Agent, TensorDict]:
    """A small agent, and a batch with all its draws."""
    if "discount" in fp.agents.recipe_options(name):
        options["discount"] = GAMMA
    agent = shaken(fp.agents.build(name, OBS, ACT, hidden=(8,), **options))
    return agent, batch_for(agent, size=16).double()


def td_loss(agent: fp.Agent, batch: TensorDict, next_value: Tensor) -> Tensor:
    """``(Q_k(s, a) - y)^2``, ``[E, B, 1]``."""
    step = batch["next"]
    y = step["reward"] + GAMMA * (1 - step["terminated"].double()) * next_value
    return (agent.networks["critic"].values(batch["observation"], batch["action"]) - y).square()


def compare(agent: fp.Agent, batch: TensorDict, expected: dict[str, tuple[str, Tensor]]) -> None:
    """Losses, and their gradients to the role that each trains."""
    out = agent.loss(batch)
    assert {key for key in out.keys() if key.startswith("loss")} == set(expected)  # noqa: SIM118
    for key, (role, loss) in expected.items():
        assert_close(out[key], loss)
        parameters = list(agent.networks[role].parameters())
        ours, theirs = (
            torch.autograd.grad(each, parameters, retain_graph=True) for each in (out[key], loss)
        )
        assert_close(ours, theirs)


def flow_by_hand(field: fp.VelocityField, s: Tensor, z: Tensor) -> Tensor:
    """Two Euler steps."""
    for t in (0.0, 0.5):
        z = z + 0.5 * field.velocity(s, z, torch.full_like(z[..., :1], t))
    return z.clamp(-1, 1)


def flow_loss(agent: fp.Agent, batch: TensorDict) -> Tensor:
    x0, a, t = batch["x0"], batch["action"], batch["time"]
    velocity = agent.networks["field"].velocity(batch["observation"], (1 - t) * x0 + t * a, t)
    return (velocity - (a - x0)).square().mean()


def test_bc() -> None:
    agent, batch = built("bc")
    mean = agent.networks["actor"].net.mean(agent.networks["actor"].net.trunk(batch["observation"]))
    loss = -Normal(mean, 1.0).log_prob(batch["action"]).sum(-1).mean()
    compare(agent, batch, {"loss_log_likelihood": ("actor", loss)})
    z = torch.randn(16, ACT).double()
    assert_close(agent.policy.act(batch["observation"], z), (mean + z).clamp(-1, 1))


def test_flow_bc() -> None:
    agent, batch = built("flow_bc", flow_steps=2)
    compare(agent, batch, {"loss_flow": ("field", flow_loss(agent, batch))})
    s, z = batch["observation"], torch.randn(16, ACT).double()
    assert_close(agent.policy.act(s, z), flow_by_hand(agent.networks["field"], s, z))


def test_qc() -> None:
    """The clone proposes, the online critics choose and the targets value, both by the minimum."""
    agent, batch = built("qc", flow_steps=2, proposals=4, aggregation=fp.min_value, critics=3)
    s, z = batch["next", "observation"], batch["next", "noise"]
    proposals = [flow_by_hand(agent.networks["field"], s, z[:, i]) for i in range(4)]
    values = [agent.networks["critic"].values(s, a).amin(0) for a in proposals]
    best = torch.cat(values, -1).argmax(-1)
    chosen = torch.stack(proposals, 1)[torch.arange(16), best]
    assert best.unique().numel() > 1
    assert_close(agent.policy.act(s, z), chosen)
    next_value = agent.targets["critic"].values(s, chosen).amin(0).detach()
    td = td_loss(agent, batch, next_value).mean()
    compare(
        agent,
        batch,
        {"loss_qvalue": ("critic", td), "loss_flow": ("field", flow_loss(agent, batch))},
    )


def test_td3_bc() -> None:
    agent, batch = built("td3_bc", alpha=1.7, noise=0.6, noise_clip=0.4)
    actor, critic, s = agent.networks["actor"], agent.networks["critic"], batch["observation"]
    step = batch["next"]
    smooth = (0.6 * step["noise"]).clamp(-0.4, 0.4)
    assert 0 < (smooth.abs() == 0.4).double().mean() < 1
    none = torch.empty(16, 0).double()
    following = (agent.targets["actor"].act(step["observation"], none) + smooth).clamp(-1, 1)
    next_value = agent.targets["critic"].values(step["observation"], following).amin(0).detach()
    td = td_loss(agent, batch, next_value)
    action = actor.net(s).tanh()
    q = critic.values(s, action)[0]
    assert not (q > 0).all() and not (q < 0).all()
    expected = {
        "loss_qvalue": ("critic", td[0].mean() + td[1].mean()),
        "loss_dpg": ("actor", -1.7 * q.mean() / q.abs().mean().detach()),
        "loss_clone": ("actor", (action - batch["action"]).square().mean()),
    }
    compare(agent, batch, expected)
    z = torch.randn(16, ACT).double()
    explores = (action + (0.6 * z).clamp(-0.4, 0.4)).clamp(-1, 1)
    assert_close(agent.policy.act(s, z), explores)


@pytest.mark.parametrize(("given", "delay"), [({}, 2), ({"delay": 3}, 3)])
@pytest.mark.parametrize("name", ["rebrac", "td3_bc"])
def test_their_actors_and_targets_wait_together(name, given, delay) -> None:
    agent, batch = built(name, **given)
    for update in range(1, delay + 1):
        before = {key: value.clone() for key, value in agent.state_dict().items()}
        metrics = agent.update(batch)
        due = update == delay
        assert all((f"loss_{loss}" in metrics) == due for loss in ("dpg", "clone"))
        for key, value in agent.state_dict().items():
            if not key.startswith("loose"):
                moves = due or key.startswith("networks.critic")
                assert torch.equal(value, before[key]) != moves, key


@pytest.mark.parametrize("target_entropy", [None, -0.3])
def test_sac(target_entropy) -> None:
    """The first dimension's deviation is beyond its range, the second one's below it."""
    given = {} if target_entropy is None else {"target_entropy": target_entropy}
    agent, batch = built("sac", critics=3, **given)
    actor, critic, s = agent.networks["actor"], agent.networks["critic"], batch["observation"]
    with torch.no_grad():
        actor.net.log_std.bias.copy_(torch.tensor([2.0, -5.0]))

    def sampled(s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        features = actor.net.trunk(s)
        mean, log_std = actor.net.mean(features), actor.net.log_std(features)
        assert log_std.amax() > 2 and log_std.amin() < -5
        std = log_std.clamp(-5, 2).exp()
        squash = TanhTransform(cache_size=1)
        action = squash(mean + std * z)
        density = TransformedDistribution(Normal(mean, std), [squash])
        return action, density.log_prob(action).sum(-1)

    following, _ = sampled(batch["next", "observation"], batch["next", "noise"])
    next_value = agent.targets["critic"].values(batch["next", "observation"], following).amin(0)
    action, log_prob = sampled(s, batch["noise"])
    coefficient = agent.networks["entropy_coefficient"]()
    entropy, least = -log_prob.mean(), ACT * (-0.5 if target_entropy is None else target_entropy)
    expected = {
        "loss_qvalue": ("critic", td_loss(agent, batch, next_value.detach()).mean()),
        "loss_dpg": ("actor", -critic.values(s, action).mean()),
        "loss_entropy": ("actor", coefficient.detach() * log_prob.mean()),
        "loss_entropy_dual": ("entropy_coefficient", coefficient * (entropy.detach() - least)),
    }
    compare(agent, batch, expected)
    assert_close(agent.policy.act(s, batch["noise"]), action)
