r"""Q-learning with adjoint matching, edited by a second policy.

.. math::
    \tilde a &= \mathrm{sg}[\mathrm{clip}(\mathrm{ODE}_\theta(s, z))],\qquad
        \delta \sim \pi_\omega(\cdot \mid s, \tilde a),\qquad
        \hat a = \mathrm{clip}(\tilde a + \sigma_a \delta) \\
    L_\omega &= \big\langle \mathrm{sg}[c] \log\pi_\omega(\delta \mid s, \tilde a)
        - \tfrac1E \textstyle\sum_k Q_k(s, \hat a) \big\rangle_B \\
    L_c &= c\,\big(\mathrm{sg}[\mathcal H] + \tfrac12 A\big),\qquad
        \mathcal H = -\big\langle \log\pi_\omega(\delta \mid s, \tilde a) \big\rangle_B

beside the losses of ``qam``: the edit of ``fedit`` around the fine-tuned flow instead of the clone.
The edited action acts and enters the critics' target.

Source: the variant QAM-EDIT of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv
2601.14234, and the authors' code.

Differences from the authors' code: as ``qam``; an edit scale of 0, which switches the edit off
there, is ``qam`` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.errors import require_positive
from flowpolicy.functional import Aggregation, Pessimistic
from flowpolicy.losses import (
    AdjointMatchingLoss,
    DPGLoss,
    DualLoss,
    EntropyLoss,
    FlowMatchingLoss,
    TDLoss,
)
from flowpolicy.modules import (
    CriticEnsemble,
    EditActor,
    LearnedCoefficient,
    TanhGaussianActor,
    TargetNetwork,
    VelocityField,
)
from flowpolicy.samplers import EulerSampler


def qam_edit(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    temperature: float = 1.0,
    edit_scale: float = 0.1,
    target_entropy: float = -0.5,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    clip_norm: float | None = 1.0,
    lr: float = 3e-4,
) -> Agent:
    """Q-learning with adjoint matching, edited by a second policy.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: ``T``, steps from noise to action, of both equations; with 3, the authors'
            score on 10 tasks falls to a third.
        critics: the number of critics.
        temperature: ``eta``, 0.1 to 10 in the published runs.
        edit_scale: ``sigma_a``, the largest edit in each dimension, above 0; 0.1 to 0.9.
        target_entropy: of the edit before scaling, per action dimension.
        discount: per environment step.
        tau: speed of the target critics and of the cloned flow's copy.
        aggregation: of the target critics; ``mean_value`` for humanoidmaze.
        clip_norm: the largest norm of all gradients together; ``None`` for no limit.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.qam_edit(3, 2, hidden=(16,)).networks)
        ['actor', 'behavior_field', 'critic', 'entropy_coefficient', 'field']
    """
    act_dim = chunk_width("qam_edit", act_dim, horizon)
    behavior_field = VelocityField(obs_dim, act_dim, hidden)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    base = TargetNetwork(behavior_field, tau)
    edit = TanhGaussianActor(obs_dim + act_dim, act_dim, hidden, log_std_range=(-20.0, 2.0))
    actor = EditActor(flow, edit, require_positive("qam_edit", "edit_scale", edit_scale))
    entropy = EntropyLoss(actor, coefficient=LearnedCoefficient())
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(behavior_field),
            AdjointMatchingLoss(field, base, target, temperature=temperature, steps=flow_steps),
            DPGLoss(actor, critic),
            entropy,
            DualLoss(entropy, limit=-act_dim * target_entropy),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        networks={"behavior_field": behavior_field},
        actors={"flow": flow, "behavior": EulerSampler(behavior_field, flow_steps)},
        clip_norm=clip_norm,
    )
