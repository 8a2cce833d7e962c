r"""DSRL: a policy over the noise of a cloned flow.

.. math::
    u &\sim \pi_\omega(\cdot \mid s) \in (-1, 1)^A,\qquad
        a = \mathrm{clip}\big(\mathrm{ODE}_{\bar\theta}(s, c_z u)\big) \\
    y &= r + \gamma^n (1 - \text{terminated})\, \mathrm{agg}_k\, \bar Q_k(s', a') \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    L_Z &= \big\langle \big(Z_k(s, z) - \mathrm{sg}[Q_k(s, \mathrm{clip}(
        \mathrm{ODE}_{\bar\theta}(s, z)))]\big)^2 \big\rangle_{k, B},\quad
        z \sim \mathcal N(0, I) \\
    L_\omega &= \big\langle \mathrm{sg}[c] \log\pi_\omega(u \mid s)
        - \tfrac1E \textstyle\sum_k Z_k(s, c_z u) \big\rangle_B \\
    L_c &= c\,\big(\mathrm{sg}[\mathcal H] + \tfrac12 A\big),\qquad
        \mathcal H = -\big\langle \log\pi_\omega(u \mid s) \big\rangle_B

A flow clones the data; the policy chooses the noise that its slow copy turns into an action. Latent
critics learn what noises are worth, so no gradient passes the flow.

Source: Wagenmaker et al., "Steering your diffusion policy with latent space reinforcement
learning", 2025, arXiv 2506.15799; as the baseline DSRL in Li, Levine, "Q-learning with adjoint
matching", ICLR 2026, arXiv 2601.14234, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, Pessimistic
from flowpolicy.losses import (
    DPGLoss,
    DualLoss,
    EntropyLoss,
    FlowMatchingLoss,
    LatentValueLoss,
    TDLoss,
)
from flowpolicy.modules import (
    CriticEnsemble,
    LearnedCoefficient,
    NoiseSpaceActor,
    ScaledActionCritic,
    TanhGaussianActor,
    TargetNetwork,
    VelocityField,
)
from flowpolicy.samplers import EulerSampler


def dsrl(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    noise_scale: float = 1.0,
    target_entropy: float = -0.5,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    lr: float = 3e-4,
) -> Agent:
    """A policy over the noise of a cloned flow.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics, and of latent critics.
        noise_scale: ``c_z``, the largest noise in each dimension; 0.4 to 1.4.
        target_entropy: of the latent policy before scaling, per action dimension.
        discount: per environment step.
        tau: speed of the target critics and of the flow's slow copy.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> agent = fp.agents.dsrl(3, 2, hidden=(16,))
        >>> sorted(agent.networks)
        ['actor', 'critic', 'entropy_coefficient', 'field', 'latent_critic']
        >>> sorted(agent.targets)
        ['critic', 'field']
    """
    act_dim = chunk_width("dsrl", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(TargetNetwork(field, tau), flow_steps)
    latent = TanhGaussianActor(obs_dim, act_dim, hidden, log_std_range=(-20.0, 2.0))
    actor = NoiseSpaceActor(latent, flow, noise_scale)
    critic, latent_critic = (
        CriticEnsemble(obs_dim, act_dim, hidden, size=critics) for _ in range(2)
    )
    target = TargetNetwork(critic, tau)
    latent_value = LatentValueLoss(latent_critic, critic, flow)
    latent_value.set_keys(noise="latent_noise")
    entropy = EntropyLoss(latent, coefficient=LearnedCoefficient())
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(field),
            latent_value,
            DPGLoss(latent, ScaledActionCritic(latent_critic, noise_scale)),
            entropy,
            DualLoss(entropy, limit=-act_dim * target_entropy),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
