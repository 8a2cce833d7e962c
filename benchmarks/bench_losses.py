"""What the objects around the formulas cost: FQL's losses beside the bare tensor functions."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

import flowpolicy as fp
from benchmarks.problem import SIZES, agent_of, random_batch
from flowpolicy.functional import squared_error, td_error, td_target

SIZE = "256x3"


class Bare:
    """The same losses of the same networks, written with tensors and the library's formulas."""

    def __init__(self, agent, batch) -> None:
        self.critic, self.actor = agent.networks["critic"], agent.networks["actor"]
        self.field, self.target = agent.networks["field"], agent.targets["critic"]
        self.steps, self.alpha = agent.actors["flow"].steps, 10.0
        self.s, self.a = batch["observation"], batch["action"]
        self.next_s, self.r = batch["next", "observation"], batch["next", "reward"]
        self.terminated = batch["next", "terminated"]
        self.z, self.next_z = batch["noise"], batch["next", "noise"]
        self.x0, self.t = batch["x0"], batch["time"]

    def critics(self, net, s, a):
        x = torch.cat([s, a], -1)
        return net(x.expand(2, *x.shape))

    def qvalue(self):
        with torch.no_grad():
            a = self.actor.net(torch.cat([self.next_s, self.next_z], -1)).clamp(-1, 1)
            value = self.critics(self.target.net, self.next_s, a).mean(0)
            y = td_target(self.r, self.terminated, value, 0.99)
        return td_error(self.critics(self.critic.net, self.s, self.a), y).mean()

    def flow(self):
        x_t = (1 - self.t) * self.x0 + self.t * self.a
        v = self.field.net(torch.cat([self.s, x_t, self.t], -1))
        return squared_error(v, self.a - self.x0).mean()

    def improvement(self):
        with torch.no_grad():
            x = self.z
            for i in range(self.steps):
                t = torch.full_like(self.t, i / self.steps)
                x = x + self.field.net(torch.cat([self.s, x, t], -1)) / self.steps
        raw = self.actor.net(torch.cat([self.s, self.z], -1))
        detached = {name: p.detach() for name, p in self.critic.net.named_parameters()}
        x_a = torch.cat([self.s, raw.clamp(-1, 1)], -1)
        values = functional_call(self.critic.net, detached, (x_a.expand(2, *x_a.shape),))
        return self.alpha * squared_error(raw, x.clamp(-1, 1)).mean() - values.mean(0).mean()

    def all(self):
        return self.qvalue() + self.flow() + self.improvement()


def objects(loss, batch):
    """The sum of what a loss module returns."""
    return sum(value for key, value in loss(batch).items() if key.startswith("loss"))


@pytest.fixture
def agent() -> fp.Agent:
    return agent_of("fql", SIZES[SIZE])


@pytest.mark.parametrize("which", ["qvalue", "flow", "all"])
def test_losses(which, agent, in_turn) -> None:
    """Forward and backward, eager, noise given."""
    batch = agent.with_noise(random_batch())  # neither side draws
    named = {loss.name: loss for loss in agent.loss.losses}
    loss = agent.loss if which == "all" else named[which]
    bare = getattr(Bare(agent, batch), which)
    torch.testing.assert_close(objects(loss, batch), bare())  # equal work

    in_turn(
        {
            "loss objects": lambda: objects(loss, batch).backward(),
            "tensor functions": lambda: bare().backward(),
        },
        targets={"tensor functions": 1.15} if which == "all" else {},
    )
