r"""Implicit Q-learning.

.. math::
    L_V &= \big\langle |\kappa - \mathbb 1[q < V(s)]|\,(q - V(s))^2 \big\rangle_B,\qquad
        q = \min_k \bar Q_k(s, a) \\
    L_Q &= \Big\langle \sum_k
        \big(Q_k(s, a) - r - \gamma^n (1 - \text{terminated})\, V(s')\big)^2 \Big\rangle_B \\
    L_\pi &= -\Big\langle \mathrm{sg}\big[\min\{e^{(\min_k Q_k(s, a) - V(s)) / \eta},\ 100\}\big]\,
        \log\pi_\theta(a \mid s) \Big\rangle_B

A Gaussian policy with a standard deviation of 1 and an unsquashed mean, by advantage-weighted
regression. It explores by sampling; how it is played, at its mode or sampled, is the evaluation
protocol's choice.

Source: Kostrikov, Nair, Levine, "Offline reinforcement learning with implicit Q-learning", 2021,
arXiv 2110.06169; as the baseline IQL of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv
2502.02538, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import min_value
from flowpolicy.losses import ExpectileLoss, LogLikelihoodLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, GaussianActor, TargetNetwork, ValueNetwork
from flowpolicy.weights import AdvantageWeight


def iql(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    critics: int = 2,
    expectile: float = 0.9,
    temperature: float = 1.0,
    discount: float = 0.99,
    tau: float = 0.005,
    lr: float = 3e-4,
) -> Agent:
    """Implicit Q-learning with advantage-weighted regression.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network; the papers' runs on state-based manipulation used
            ``(256,) * 4``.
        critics: the number of critics.
        expectile: ``kappa`` of the state value, in (0, 1).
        temperature: ``eta`` of the weight, 0.1 to 3.3; the papers' alpha is its inverse.
        discount: per environment step.
        tau: speed of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.iql(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'value']
    """
    act_dim = chunk_width("iql", act_dim, horizon)
    actor = GaussianActor(obs_dim, act_dim, hidden, head_gain=0.1)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    value = ValueNetwork(obs_dim, hidden)
    target = TargetNetwork(critic, tau)
    weight = AdvantageWeight(critic, value, temperature=temperature, aggregation=min_value)
    return Agent(
        policy=actor,
        losses=[
            # The authors sum over the critics where TDLoss averages.
            TDLoss(critic, next_value=value, discount=discount, coefficient=critic.size),
            ExpectileLoss(value, target, expectile=expectile, aggregation=min_value),
            LogLikelihoodLoss(actor, weight=weight),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
