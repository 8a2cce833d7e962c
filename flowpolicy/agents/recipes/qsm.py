r"""Q-score matching on data: a diffusion that clones and follows the critics' gradient.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{DDPM}_\psi(s', z')) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\psi &= \alpha \big\langle \tfrac1A \|\epsilon_\psi(s, x_t, t) - x_0\|^2 \big\rangle_B
        + \big\langle \tfrac1A \|\epsilon_\psi(s, x_t, t) + G / \eta\|^2 \big\rangle_B,\qquad
        G = \mathrm{sg}\big[\nabla_x \tfrac1E \textstyle\sum_k \bar Q_k(s, x)\big]_{x = x_t}

Source: Psenka et al., "Learning a diffusion model policy from rewards via Q-score matching", 2023,
arXiv 2312.11752, as the baseline QSM of Li, Levine, "Q-learning with adjoint matching", ICLR 2026,
arXiv 2601.14234, and the released code of the latter.

Differences from the authors' code: actions are drawn by DDPM; ``sampler=JumpSampler`` and the
presets draw them as the release does, which takes each estimate of the action for the next state.
Their inverse temperature is ``1 / temperature``. Their reported loss has a constant for each
invalid row (``CriticScoreLoss``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, Pessimistic, QScoreError
from flowpolicy.losses import CriticScoreLoss, NoiseMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, NoisePredictor, TargetNetwork
from flowpolicy.samplers import DDPMSampler, DiffusionSampler, JumpSampler

NAMED_OPTIONS: dict[str, Mapping[str, Any]] = {
    "sampler": {"ddpm": DDPMSampler, "jump": JumpSampler}
}
"""For the command line."""


def qsm(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    diffusion_steps: int = 10,
    critics: int = 10,
    alpha: float = 10.0,
    temperature: float = 0.1,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    sampler: Callable[[NoisePredictor], DiffusionSampler] = DDPMSampler,
    clip_norm: float | None = 1.0,
    lr: float = 3e-4,
) -> Agent:
    """Q-score matching.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        diffusion_steps: ``N``, from noise to action.
        critics: the number of critics.
        alpha: strength of the cloning term, 1 to 30 in the published runs.
        temperature: ``eta`` of the critics' gradient, 0.1 to 1 in the published runs.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics in the Bellman target.
        sampler: makes the actor; ``JumpSampler`` is the released one.
        clip_norm: the largest norm of all gradients together; ``None`` for no limit.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.qsm(3, 2, hidden=(16,)).networks)
        ['critic', 'predictor']
    """
    act_dim = chunk_width("qsm", act_dim, horizon)
    predictor = NoisePredictor(obs_dim, act_dim, hidden, steps=diffusion_steps)
    actor = sampler(predictor)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            NoiseMatchingLoss(predictor, coefficient=alpha),
            CriticScoreLoss(predictor, target, error=QScoreError(temperature)),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        clip_norm=clip_norm,
    )
