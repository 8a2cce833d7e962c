r"""Flow behaviour-regularised actor-critic.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{clip}(\mathrm{ODE}_\theta(s', z'))) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\theta &= \alpha \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B
        - \lambda \big\langle \tfrac1E \textstyle\sum_k
            Q_k(s, \mathrm{clip}(\mathrm{ODE}_\theta(s, z))) \big\rangle_B

One flow clones the data and climbs the critics, with gradient through all of its Euler steps and
the final clip.

Source: the baseline FBRAC of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538,
equation 6 (no code of theirs); also in the released code of Li, Levine, "Q-learning with adjoint
matching", ICLR 2026, arXiv 2601.14234.

Differences from the authors' code: that of the second paper divides the critics' term by alpha and
leaves the flow's alone, which is this loss over alpha. Adam removes a constant factor up to its
epsilon, so its alphas (0.03 to 100) serve here as they are, with ``scale=unit_scale``,
``critics=10`` and ``aggregation=Pessimistic(0.5)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, Scale, inverse_mean_abs, mean_value
from flowpolicy.losses import DPGLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, TargetNetwork, VelocityField
from flowpolicy.samplers import EulerSampler


def fbrac(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 2,
    alpha: float = 1.0,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = mean_value,
    scale: Scale = inverse_mean_abs,
    lr: float = 3e-4,
) -> Agent:
    """Flow behaviour-regularised actor-critic.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        alpha: strength of the behaviour term; 1 to 300 without a scale, 0.03 to
            100 with ten critics.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics.
        scale: of the critics' term; ``inverse_mean_abs`` is independent of the rewards' scale,
            ``unit_scale`` what the papers' runs used.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.fbrac(3, 2, hidden=(16,)).networks)
        ['critic', 'field']
    """
    act_dim = chunk_width("fbrac", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    return Agent(
        policy=flow,
        losses=[
            TDLoss(critic, target, next_actor=flow, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(field, coefficient=alpha),
            DPGLoss(flow, critic, scale=scale),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
