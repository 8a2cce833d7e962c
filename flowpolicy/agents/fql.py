r"""Flow Q-learning.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{clip}(\mu_\omega(s', z'))) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    L_\omega &= \alpha \big\langle \tfrac1A
        \|\mu_\omega(s, z) - \mathrm{sg}[\mathrm{ODE}_\theta(s, z)]\|^2 \big\rangle_B
        - \lambda \big\langle \tfrac1E \textstyle\sum_k
            Q_k(s, \mathrm{clip}(\mu_\omega(s, z))) \big\rangle_B

A flow clones the data; a one-step policy is distilled from it with the same noise and climbs the
critics. Only the one-step policy acts.

Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538, and the authors' code.

Differences from the authors' code: none in the update. Their metric ``mse``, which costs a network
pass of its own, is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.functional import Aggregation, Scale, mean_value, unit_scale
from flowpolicy.losses import DistillLoss, DPGLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, OneStepActor, TargetNetwork, VelocityField
from flowpolicy.samplers import EulerSampler


def fql(
    obs_dim: int,
    act_dim: int,
    *,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    alpha: float = 10.0,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = mean_value,
    scale: Scale = unit_scale,
    lr: float = 3e-4,
) -> Agent:
    """Flow Q-learning.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        alpha: strength of the behaviour constraint; 10 to 30,000 without a scale, 0.03 to 10 with
            ``inverse_mean_abs``.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics; ``min_value`` for adroit and antmaze-large and -giant.
        scale: of the critics' term; ``inverse_mean_abs`` is independent of the rewards' scale.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.fql(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'field']
    """
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    actor = OneStepActor(obs_dim, act_dim, hidden)
    critic = CriticEnsemble(obs_dim, act_dim, hidden)
    target = TargetNetwork(critic, tau)
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(field),
            DistillLoss(actor, teacher=flow, coefficient=alpha),
            DPGLoss(actor, critic, scale=scale),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
