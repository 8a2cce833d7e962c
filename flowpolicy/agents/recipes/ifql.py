r"""Implicit flow Q-learning.

.. math::
    L_V &= \big\langle |\kappa - \mathbb 1[q < V(s)]|\,(q - V(s))^2 \big\rangle_B,\qquad
        q = \mathrm{agg}_k\, \bar Q_k(s, a) \\
    L_Q &= \Big\langle \sum_k
        \big(Q_k(s, a) - r - \gamma^n (1 - \text{terminated})\, V(s')\big)^2 \Big\rangle_B \\
    L_\text{flow} &= \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    \pi(s) &= \arg\max_{a_i} \min_k Q_k(s, a_i),\qquad
        a_i = \mathrm{clip}(\mathrm{ODE}_\theta(s, z_i)),\quad i = 1..N

The values of IQL, a cloned flow, and the critics' choice among its proposals: IDQL with a flow.

Source: the baseline IFQL of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538, and
the authors' code; Kostrikov, Nair, Levine, "Offline reinforcement learning with implicit
Q-learning", 2021, arXiv 2110.06169; Hansen-Estruch et al., "IDQL", 2023, arXiv 2304.10573.

Differences from the authors' code: the policy takes any batch of observations, theirs a single one.
The version in the released code of arXiv 2601.14234 is ``critics=10`` with
``aggregation=Pessimistic(0.5)``; it averages over the critics where this sums, a factor that Adam
removes, and leaves invalid chunks in the value's loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, min_value
from flowpolicy.losses import ExpectileLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, TargetNetwork, ValueNetwork, VelocityField
from flowpolicy.samplers import BestOf, EulerSampler


def ifql(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 2,
    expectile: float = 0.9,
    proposals: int = 32,
    aggregation: Aggregation = min_value,
    discount: float = 0.99,
    tau: float = 0.005,
    lr: float = 3e-4,
) -> Agent:
    """Implicit flow Q-learning.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        expectile: ``kappa`` of the state value, in (0, 1).
        proposals: ``N``, how many actions the critics choose from.
        aggregation: of the target critics that the state value is regressed on.
        discount: per environment step.
        tau: speed of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.ifql(3, 2, hidden=(16,)).networks)
        ['critic', 'field', 'value']
    """
    act_dim = chunk_width("ifql", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    value = ValueNetwork(obs_dim, hidden)
    target = TargetNetwork(critic, tau)
    return Agent(
        policy=BestOf(flow, critic, proposals, aggregation=min_value),
        losses=[
            # The authors sum over the critics where TDLoss averages.
            TDLoss(critic, next_value=value, discount=discount, coefficient=critic.size),
            ExpectileLoss(value, target, expectile=expectile, aggregation=aggregation),
            FlowMatchingLoss(field),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
