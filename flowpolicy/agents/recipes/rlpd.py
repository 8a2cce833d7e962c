r"""RLPD: soft actor-critic with a pessimistic ensemble, for data and environment together.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\, \mathrm{agg}_k\, \bar Q_k(s', a'),\qquad
        a' \sim \pi_\omega(\cdot \mid s') \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\omega &= \big\langle \mathrm{sg}[c] \log\pi_\omega(\tilde a \mid s)
        - \mathrm{agg}_k\, Q_k(s, \tilde a) \big\rangle_B
        - \alpha \big\langle \log\pi_\omega(a \mid s) \big\rangle_B,\qquad
        \tilde a \sim \pi_\omega(\cdot \mid s) \\
    L_c &= c\,\big(\mathrm{sg}[\mathcal H] - \bar{\mathcal H}\big),\qquad
        \mathcal H = -\big\langle \log\pi_\omega(\tilde a \mid s) \big\rangle_B,\quad
        \bar{\mathcal H} = -\tfrac12 A

A squashed Gaussian policy and ten critics, whose mean minus half a standard deviation counts both
in the target and for the policy. Entropy is not in the target. With ``alpha`` the policy is cloned
besides. It explores by sampling.

Source: Ball et al., "Efficient online reinforcement learning with offline data", 2023, arXiv
2302.02948; as the baseline RLPD in the released code of Li, Levine, "Q-learning with adjoint
matching", ICLR 2026, arXiv 2601.14234.

Differences from the authors' code: none in the update. Theirs is evaluated by sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, Pessimistic
from flowpolicy.losses import DPGLoss, DualLoss, EntropyLoss, LogLikelihoodLoss, TDLoss
from flowpolicy.modules import (
    CriticEnsemble,
    LearnedCoefficient,
    TanhGaussianActor,
    TargetNetwork,
)


def rlpd(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    critics: int = 10,
    alpha: float = 0.0,
    target_entropy: float = -0.5,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    lr: float = 3e-4,
) -> Agent:
    """RLPD.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        critics: the number of critics.
        alpha: strength of the behaviour constraint; none at 0.
        target_entropy: of the policy, per action dimension.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the critics, in the target and for the policy.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.rlpd(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'entropy_coefficient']
    """
    act_dim = chunk_width("rlpd", act_dim, horizon)
    actor = TanhGaussianActor(obs_dim, act_dim, hidden, log_std_range=(-20.0, 2.0))
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    entropy = EntropyLoss(actor, coefficient=LearnedCoefficient())
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            DPGLoss(actor, critic, aggregation=aggregation),
            entropy,
            DualLoss(entropy, limit=-act_dim * target_entropy),
            *((LogLikelihoodLoss(actor, coefficient=alpha),) if alpha else ()),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
