r"""A cloned flow with a learned edit.

.. math::
    \tilde a &= \mathrm{clip}(\mathrm{ODE}_\theta(s, z)),\qquad
        \delta \sim \pi_\omega(\cdot \mid s, \tilde a),\qquad
        \hat a = \mathrm{clip}(\tilde a + \sigma_a \delta) \\
    y &= r + \gamma^n (1 - \text{terminated})\, \mathrm{agg}_k\, \bar Q_k(s', \hat a') \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    L_\omega &= \big\langle \mathrm{sg}[c] \log\pi_\omega(\delta \mid s, \tilde a)
        - \tfrac1E \textstyle\sum_k Q_k(s, \hat a) \big\rangle_B \\
    L_c &= c\,\big(\mathrm{sg}[\mathcal H] + \tfrac12 A\big),\qquad
        \mathcal H = -\big\langle \log\pi_\omega(\delta \mid s, \tilde a) \big\rangle_B

A flow clones the data, a squashed Gaussian policy of the observation and the flow's action edits
that by at most ``edit_scale`` in each dimension. The flow gets no gradient of the critics.

Source: Dong et al., "EXPO: stable reinforcement learning with expressive policies", 2025, arXiv
2507.07986; as the baseline FEdit in Li, Levine, "Q-learning with adjoint matching", ICLR 2026,
arXiv 2601.14234, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.errors import require_positive
from flowpolicy.functional import Aggregation, Pessimistic
from flowpolicy.losses import DPGLoss, DualLoss, EntropyLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import (
    CriticEnsemble,
    EditActor,
    LearnedCoefficient,
    TanhGaussianActor,
    TargetNetwork,
    VelocityField,
)
from flowpolicy.samplers import EulerSampler


def fedit(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    edit_scale: float = 0.2,
    target_entropy: float = -0.5,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    lr: float = 3e-4,
) -> Agent:
    """A cloned flow with a learned edit.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        edit_scale: ``sigma_a``, the largest edit in each dimension; 0.1 to 0.8.
        target_entropy: of the edit before scaling, per action dimension.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.fedit(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'entropy_coefficient', 'field']
    """
    act_dim = chunk_width("fedit", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    edit = TanhGaussianActor(obs_dim + act_dim, act_dim, hidden, log_std_range=(-20.0, 2.0))
    actor = EditActor(flow, edit, require_positive("fedit", "edit_scale", edit_scale))
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    entropy = EntropyLoss(actor, coefficient=LearnedCoefficient())
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(field),
            DPGLoss(actor, critic),
            entropy,
            DualLoss(entropy, limit=-act_dim * target_entropy),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
