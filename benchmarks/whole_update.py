"""FQL's whole update as one compiled program: what would be left without Python between its parts.

A measurement, not a way to train: Adam, written out, has its options as constants of the program.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tensordict import TensorDictBase
from torch import Tensor

import flowpolicy as fp
from flowpolicy.agents.compiled import compiled


class WholeUpdate:
    """Losses, backward pass, target networks and Adam; noise is drawn before.

    Args:
        agent: has made an update, so that its optimizer has a state.
        batch: of every update.
        options: of Inductor.
    """

    def __init__(
        self, agent: fp.Agent, batch: TensorDictBase, options: Mapping[str, object]
    ) -> None:
        self.agent, self.batch = agent, batch
        self.gradient = agent.loss_gradient()
        self.adam = agent.optimizer.param_groups[0]
        self.tau = agent.due_targets(after_step=False)[0].tau
        trained = dict(agent.trained_parameters())
        targets = agent.targets.named_parameters(prefix="targets")
        self.tensors = (
            {name: parameter.detach() for name, parameter in trained.items()},
            {name: parameter.detach() for name, parameter in targets},
            {name: agent.optimizer.state[parameter] for name, parameter in trained.items()},
        )
        arguments = ("trained", "targets", "states", "entries")
        self.program = compiled(self.update, arguments, backend="inductor", options=options)

    def __call__(self) -> dict[str, Tensor]:
        """One update."""
        filled = self.agent.with_noise(self.batch)
        entries = dict(filled.items(include_nested=True, leaves_only=True))
        return self.program(*self.tensors, entries)

    def update(
        self,
        trained: dict[str, Tensor],
        targets: dict[str, Tensor],
        states: dict[str, dict[str, Tensor]],
        entries: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Writes all but the entries; leaves them as they are where the gradient is not finite."""
        gradients, metrics = self.gradient.of(trained, targets, entries)
        finite = metrics["grad_norm"].isfinite()

        def move(old: Tensor, new: Tensor) -> None:
            old.copy_(torch.where(finite, new, old))

        for name, target in targets.items():
            source = name.replace("targets.", "networks.").replace(".network.", ".")
            move(target, torch.lerp(target, trained[source], self.tau))
        (beta1, beta2), rate, eps = self.adam["betas"], self.adam["lr"], self.adam["eps"]
        count = next(iter(states.values()))["step"] + 1
        for name, value in trained.items():
            state, g = states[name], gradients[name]
            first = torch.lerp(state["exp_avg"], g, 1 - beta1)
            second = torch.lerp(state["exp_avg_sq"], g.square(), 1 - beta2)
            root = (second / (1 - beta2**count)).sqrt() + eps
            move(value, value - rate / (1 - beta1**count) * first / root)
            move(state["exp_avg"], first)
            move(state["exp_avg_sq"], second)
            move(state["step"], count)
        return metrics
