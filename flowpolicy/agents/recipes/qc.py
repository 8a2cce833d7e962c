r"""Q-chunking: best-of-N over a flow that clones chunks of actions.

.. math::
    y &= \sum_{j < h} \gamma^j r_j + \gamma^h (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \pi(s')) \\
    L_Q &= \big\langle (Q_k(s, a_{0:h}) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac{1}{h A} \|v_\theta(s, x_t, t) - (a_{0:h} - x_0)\|^2
        \big\rangle_B \\
    \pi(s) &= \arg\max_{a_i} \mathrm{agg}_k\, Q_k(s, a_i),\qquad
        a_i = \mathrm{clip}(\mathrm{ODE}_\theta(s, z_i)),\quad i = 1..N

No loss trains a policy: the critics choose among the clone's proposals, both to act and in their
own target. Critics of whole chunks carry rewards back ``h`` steps at a time without the bias of
n-step returns. Chunks play open loop. ``fql`` with a horizon is the paper's other variant, QC-FQL.

Source: Li, Zhou, Levine, "Reinforcement learning with action chunking", NeurIPS 2025, arXiv
2507.07969.

Differences from the authors' code: none is known, but no recorded update of it was met; the parts
are those that meet the recorded updates of ``ifql`` and of chunked ``qam``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, mean_value
from flowpolicy.losses import FlowMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, TargetNetwork, VelocityField
from flowpolicy.samplers import BestOf, EulerSampler


def qc(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 2,
    proposals: int = 32,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = mean_value,
    lr: float = 3e-4,
) -> Agent:
    """Q-chunking.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``. The
            paper's runs have 5; with 1 there are no chunks.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        proposals: ``N``, how many chunks the critics choose from.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the critics, in their choice and in their target.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> agent = fp.agents.qc(3, 2, horizon=5, hidden=(16,))
        >>> sorted(agent.networks), agent.act(torch.zeros(4, 3)).shape
        (['critic', 'field'], torch.Size([4, 10]))
    """
    act_dim = chunk_width("qc", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    policy = BestOf(flow, critic, proposals, aggregation=aggregation)
    return Agent(
        policy=policy,
        losses=[
            TDLoss(critic, target, next_actor=policy, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(field),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
