r"""Soft actor-critic without entropy in the target.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\, \mathrm{agg}_k\, \bar Q_k(s', a'),\qquad
        a' \sim \pi_\omega(\cdot \mid s') \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\omega &= \big\langle \mathrm{sg}[c] \log\pi_\omega(\tilde a \mid s)
        - \tfrac1E \textstyle\sum_k Q_k(s, \tilde a) \big\rangle_B,\qquad
        \tilde a \sim \pi_\omega(\cdot \mid s) \\
    L_c &= c\,\big(\mathrm{sg}[\mathcal H] - \bar{\mathcal H}\big),\qquad
        \mathcal H = -\big\langle \log\pi_\omega(\tilde a \mid s) \big\rangle_B,\quad
        \bar{\mathcal H} = -\tfrac12 A

A squashed Gaussian policy. Trained on batches of which half come from the data and half from the
environment it is the baseline RLPD of the flow Q-learning paper. It explores by sampling; how it is
played, at its mode or sampled, is the evaluation protocol's choice.

Source: Haarnoja et al., "Soft actor-critic algorithms and applications", 2018, arXiv 1812.05905;
Ball et al., "Efficient online reinforcement learning with offline data", 2023, arXiv 2302.02948; as
in the code of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, min_value
from flowpolicy.losses import DPGLoss, DualLoss, EntropyLoss, TDLoss
from flowpolicy.modules import (
    CriticEnsemble,
    LearnedCoefficient,
    TanhGaussianActor,
    TargetNetwork,
)


def sac(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    critics: int = 2,
    target_entropy: float = -0.5,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = min_value,
    lr: float = 3e-4,
) -> Agent:
    """Soft actor-critic.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        critics: the number of critics.
        target_entropy: of the policy, per action dimension.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.sac(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'entropy_coefficient']
    """
    act_dim = chunk_width("sac", act_dim, horizon)
    actor = TanhGaussianActor(obs_dim, act_dim, hidden, log_std_range=(-5.0, 2.0), head_gain=0.1)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    entropy = EntropyLoss(actor, coefficient=LearnedCoefficient())
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            DPGLoss(actor, critic),
            entropy,
            DualLoss(entropy, limit=-act_dim * target_entropy),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
