r"""TD3+BC.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\, \min_k \bar Q_k\big(s',
        \mathrm{clip}(\bar\pi(s') + \mathrm{clip}_{[-c, c]}(\sigma z'))\big) \\
    L_Q &= \Big\langle \sum_k (Q_k(s, a) - y)^2 \Big\rangle_B \\
    L_\pi &= -\alpha \lambda \big\langle Q_1(s, \pi(s)) \big\rangle_B
        + \big\langle \tfrac1A \|\pi(s) - a\|^2 \big\rangle_B,\qquad
        \lambda = \mathrm{sg}\big[1 / \langle |Q_1(s, \pi(s))| \rangle_B\big]

A deterministic actor climbs the first critic and stays near the data. It and all targets move in
every second update. It explores with the clipped noise of the target; how it is played, with or
without it, is the evaluation protocol's choice.

Source: Fujimoto, Gu, "A minimalist approach to offline reinforcement learning", 2021, arXiv
2106.06860.

Differences from the authors' code: the networks are those of this library (GELU, LayerNorm in the
critics, Xavier-uniform weights; theirs have two hidden layers of 256 with ReLU). Their standardised
observations are the run's option ``normalize_observations``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import first_value, inverse_mean_abs, min_value
from flowpolicy.losses import CloneLoss, DPGLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, DeterministicActor, NoisyActor, TargetNetwork


def td3_bc(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    critics: int = 2,
    alpha: float = 2.5,
    noise: float = 0.2,
    noise_clip: float = 0.5,
    delay: int = 2,
    discount: float = 0.99,
    tau: float = 0.005,
    lr: float = 3e-4,
) -> Agent:
    """TD3+BC.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        critics: the number of critics.
        alpha: strength of the critics' term; more of it is less cloning.
        noise: standard deviation of the noise on the target's action and in exploration; 0 is
            none.
        noise_clip: the largest such noise.
        delay: the actor and all targets move in every so many updates.
        discount: per environment step.
        tau: speed of the targets.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.td3_bc(3, 2, hidden=(16,)).targets)
        ['actor', 'critic']
    """
    act_dim = chunk_width("td3_bc", act_dim, horizon)
    actor = DeterministicActor(obs_dim, act_dim, hidden)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau, every=delay)
    smoothed = NoisyActor(TargetNetwork(actor, tau, every=delay), noise, noise_clip)
    return Agent(
        policy=NoisyActor(actor, noise, noise_clip),
        losses=[
            # The authors sum over the critics where TDLoss averages.
            TDLoss(
                critic,
                target,
                next_actor=smoothed,
                discount=discount,
                aggregation=min_value,
                coefficient=critic.size,
            ),
            DPGLoss(
                actor, critic, scale=inverse_mean_abs, aggregation=first_value, coefficient=alpha
            ),
            CloneLoss(actor),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        every={"dpg": delay, "clone": delay},
    )
