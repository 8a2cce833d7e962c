r"""Q-learning with adjoint matching.

.. math::
    y &= \sum_{j < h} \gamma^j r_j + \gamma^h (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{clip}(\mathrm{ODE}_\theta(s', z'))) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac1A \|f_\beta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    L_\theta &= \Big\langle \sum_{i=0}^{T-1} \Big\| \frac{2}{\sigma_i}\,
        \big(f_\theta - f_{\bar\beta}\big)(s, x_i, t_i)
        + \sigma_i\,\tilde g_i \Big\|^2 \Big\rangle_B,\qquad
        \tilde g_T = -\frac1\eta \nabla_x \tfrac1E \textstyle\sum_k
            \bar Q_k(s, \mathrm{clip}(x_T))

One flow clones the data; a second one, of its own weights, is regressed on the first corrected by
the critics' slope, carried back along random paths (``AdjointMatchingLoss``). It tends to the
data's policy tilted by ``exp(Q / eta)`` and acts by its ordinary differential equation.

Source: Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234, and the
authors' code, which is followed where the two differ: the shifted schedule, the Polyak copy of the
cloned flow, the population's deviation in the target, the gradient's norm of all parameters
together clipped at 1.

Differences from the authors' code: ``temperature`` is the reciprocal of their inverse temperature,
of which 0 (to act with the clone) is ``flow_bc`` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, Pessimistic
from flowpolicy.losses import AdjointMatchingLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, TargetNetwork, VelocityField
from flowpolicy.samplers import EulerSampler


def qam(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    temperature: float = 1.0,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    clip_norm: float | None = 1.0,
    lr: float = 3e-4,
) -> Agent:
    """Q-learning with adjoint matching.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: ``T``, steps from noise to action, of both equations; with 3, the authors'
            score of ``qam_edit`` on 10 tasks falls to a third.
        critics: the number of critics.
        temperature: ``eta``, 0.03 to 1 in the published runs.
        discount: per environment step.
        tau: speed of the target critics and of the cloned flow's copy.
        aggregation: of the target critics; ``mean_value`` for humanoidmaze.
        clip_norm: the largest norm of all gradients together; ``None`` for no limit.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> agent = fp.agents.qam(3, 2, hidden=(16,))
        >>> sorted(agent.networks), sorted(agent.targets)
        (['behavior_field', 'critic', 'field'], ['behavior_field', 'critic'])
    """
    act_dim = chunk_width("qam", act_dim, horizon)
    behavior_field = VelocityField(obs_dim, act_dim, hidden)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    base = TargetNetwork(behavior_field, tau)
    return Agent(
        policy=flow,
        losses=[
            TDLoss(critic, target, next_actor=flow, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(behavior_field),
            AdjointMatchingLoss(field, base, target, temperature=temperature, steps=flow_steps),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        networks={"behavior_field": behavior_field},
        actors={"behavior": EulerSampler(behavior_field, flow_steps)},
        clip_norm=clip_norm,
    )
