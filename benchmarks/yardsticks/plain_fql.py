"""Flow Q-learning in plain eager PyTorch, as one would write it in a single file.

A yardstick: ``nn.Linear``, ``nn.GELU``, fused Adam, one backward pass of the sum of all losses, and
target critics that move towards the parameters of before the step. The equations are those of
``jax_fql`` beside it.

Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def network(sizes: Sequence[int], *, norm: bool = False) -> nn.Sequential:
    """Linear, tanh-GELU, LayerNorm where asked; the last layer is linear."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.GELU(approximate="tanh")]
        if norm:
            layers.append(nn.LayerNorm(fan_out, eps=1e-6))
    return nn.Sequential(*layers[: -2 if norm else -1])


class PlainFQL(nn.Module):
    """Networks, optimizer and the update.

    Args:
        obs_dim: size of an observation.
        act_dim: size of an action.
        hidden: hidden sizes of every network.
        critics: the number of critics.
        flow_steps: Euler steps from noise to action.
        alpha: strength of the distillation.
        discount: per environment step.
        tau: speed of the target critics.
        lr: Adam's learning rate.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        critics: int = 2,
        flow_steps: int = 10,
        alpha: float = 10.0,
        discount: float = 0.99,
        tau: float = 0.005,
        lr: float = 3e-4,
    ) -> None:
        super().__init__()
        width = obs_dim + act_dim
        self.actor = network([width, *hidden, act_dim])
        self.field = network([width + 1, *hidden, act_dim])
        self.critic = nn.ModuleList(network([width, *hidden, 1], norm=True) for _ in range(critics))
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.flow_steps, self.alpha, self.discount, self.tau = flow_steps, alpha, discount, tau
        trained = [self.actor, self.field, self.critic]
        self.optimizer = torch.optim.Adam(
            [p for each in trained for p in each.parameters()], lr=lr, fused=True
        )

    def losses(self, batch: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is summed up, and the error of the distillation."""
        s, a, noise = batch["observation"], batch["action"], draws["noise"]

        with torch.no_grad():
            next_s = batch["next_observation"]
            next_a = self.actor(torch.cat([next_s, draws["next_noise"]], -1)).clamp(-1, 1)
            next_value = self.values(self.target, next_s, next_a).mean(0)
            y = batch["reward"] + self.discount * (1 - batch["terminated"]) * next_value
        loss_qvalue = (self.values(self.critic, s, a) - y).square().mean()

        x0, t = draws["x0"], draws["time"]
        velocity = self.field(torch.cat([s, (1 - t) * x0 + t * a, t], -1))
        loss_flow = (velocity - (a - x0)).square().mean()

        with torch.no_grad():
            x = noise
            for i in range(self.flow_steps):
                time = torch.full_like(t, i / self.flow_steps)
                x = x + self.field(torch.cat([s, x, time], -1)) / self.flow_steps
        raw = self.actor(torch.cat([s, noise], -1))
        distill_error = (raw - x.clamp(-1, 1)).square().mean()

        self.critic.requires_grad_(False)  # this loss trains the actor alone
        loss_dpg = -self.values(self.critic, s, raw.clamp(-1, 1)).mean()
        self.critic.requires_grad_(True)
        return {
            "loss_qvalue": loss_qvalue,
            "loss_flow": loss_flow,
            "loss_distill": self.alpha * distill_error,
            "loss_dpg": loss_dpg,
            "distill_error": distill_error.detach(),
        }

    def update(
        self, batch: Mapping[str, Tensor], draws: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """One gradient step; absent noise is drawn."""
        results = self.losses(batch, draw(batch["action"]) if draws is None else draws)
        self.optimizer.zero_grad(set_to_none=True)
        sum(value for key, value in results.items() if key.startswith("loss")).backward()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.target.parameters()), list(self.critic.parameters()), self.tau
            )
        self.optimizer.step()
        return {key: value.detach() for key, value in results.items()}

    @staticmethod
    def values(critics: nn.ModuleList, s: Tensor, a: Tensor) -> Tensor:
        """``[E, B]``."""
        inputs = torch.cat([s, a], -1)
        return torch.stack([critic(inputs).squeeze(-1) for critic in critics])


def draw(like: Tensor) -> dict[str, Tensor]:
    """The noise of an update for actions of the shape of ``like``."""
    normals = {name: torch.randn_like(like) for name in ("next_noise", "x0", "noise")}
    return {**normals, "time": torch.rand_like(like[:, :1])}
