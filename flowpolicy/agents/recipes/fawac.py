r"""Flow advantage-weighted actor-critic.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{clip}(\mathrm{ODE}_\theta(s', z'))) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_V &= \big\langle (\bar Q_k(s, a) - V(s))^2 \big\rangle_{k, B} \\
    L_\theta &= \big\langle g\, \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B,\qquad
        g = \mathrm{sg}\big[\min\{e^{(\frac1E \sum_k Q_k(s, a) - V(s)) / \eta},\ 100\}\big]

One flow that clones the data's actions the more, the better they are than the data's mean.

Source: the baseline FAWAC of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538,
equation 10 (which prints a maximum and means a minimum; no code of theirs); the released code of
Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234, which defines the value
and is reproduced with ``critics=10`` and ``aggregation=Pessimistic(0.5)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, mean_value
from flowpolicy.losses import FlowMatchingLoss, TDLoss, ValueLoss
from flowpolicy.modules import CriticEnsemble, TargetNetwork, ValueNetwork, VelocityField
from flowpolicy.samplers import EulerSampler
from flowpolicy.weights import AdvantageWeight


def fawac(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 2,
    temperature: float = 1.0,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = mean_value,
    lr: float = 3e-4,
) -> Agent:
    """Flow advantage-weighted actor-critic.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        temperature: ``eta`` of the weight, 0.16 to 3.3 in the published runs; the papers' alpha or
            tau is its inverse.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.fawac(3, 2, hidden=(16,)).networks)
        ['critic', 'field', 'value']
    """
    act_dim = chunk_width("fawac", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    value = ValueNetwork(obs_dim, hidden)
    target = TargetNetwork(critic, tau)
    weight = AdvantageWeight(critic, value, temperature=temperature)
    return Agent(
        policy=flow,
        losses=[
            TDLoss(critic, target, next_actor=flow, discount=discount, aggregation=aggregation),
            ValueLoss(value, target),
            FlowMatchingLoss(field, weight=weight),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
