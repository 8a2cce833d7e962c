r"""Implicit Q-learning whose policy climbs the critics.

.. math::
    L_V &= \big\langle |\kappa - \mathbb 1[q < V(s)]|\,(q - V(s))^2 \big\rangle_B,\qquad
        q = \min_k \bar Q_k(s, a) \\
    L_Q &= \Big\langle \sum_k
        \big(Q_k(s, a) - r - \gamma^n (1 - \text{terminated})\, V(s')\big)^2 \Big\rangle_B \\
    L_\pi &= -\lambda \big\langle \min_k Q_k(s, \mathrm{clip}(\mu_\theta(s))) \big\rangle_B
        - \alpha \big\langle \log\pi_\theta(a \mid s) \big\rangle_B,\qquad
        \lambda = \mathrm{sg}\big[1 / \langle |\min_k Q_k| \rangle_B\big]

The values of IQL and a Gaussian policy with a standard deviation of 1, extracted by the gradient of
the critics at its mean and by cloning (DDPG+BC) instead of by weighted regression. It explores by
sampling; how it is played, at its mode or sampled, is the evaluation protocol's choice.

Source: Park, Frans, Levine, Kumar, "Is value learning really the main bottleneck in offline RL?",
2024, arXiv 2406.09329; the option ``ddpgbc`` of IQL in the authors' code of Park, Li, Levine, "Flow
Q-learning", ICML 2025, arXiv 2502.02538.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import inverse_mean_abs, min_value
from flowpolicy.losses import DPGLoss, ExpectileLoss, LogLikelihoodLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, GaussianActor, TargetNetwork, ValueNetwork


def iql_ddpg_bc(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    critics: int = 2,
    expectile: float = 0.9,
    alpha: float = 1.0,
    discount: float = 0.99,
    tau: float = 0.005,
    lr: float = 3e-4,
) -> Agent:
    """Implicit Q-learning with the policy of DDPG+BC.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        critics: the number of critics.
        expectile: ``kappa`` of the state value, in (0, 1).
        alpha: strength of the behaviour constraint.
        discount: per environment step.
        tau: speed of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.iql_ddpg_bc(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'value']
    """
    act_dim = chunk_width("iql_ddpg_bc", act_dim, horizon)
    actor = GaussianActor(obs_dim, act_dim, hidden, head_gain=0.1)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    value = ValueNetwork(obs_dim, hidden)
    target = TargetNetwork(critic, tau)
    return Agent(
        policy=actor,
        losses=[
            # The authors sum over the critics where TDLoss averages.
            TDLoss(critic, next_value=value, discount=discount, coefficient=critic.size),
            ExpectileLoss(value, target, expectile=expectile, aggregation=min_value),
            DPGLoss(actor.mode, critic, scale=inverse_mean_abs, aggregation=min_value),
            LogLikelihoodLoss(actor, coefficient=alpha),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
