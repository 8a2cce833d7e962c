r"""Q-learning with adjoint matching, distilled into a one-step policy.

.. math::
    L_\omega = \alpha \big\langle \tfrac1A
        \|\mu_\omega(s, z) - \mathrm{sg}[\mathrm{clip}(\mathrm{ODE}_\theta(s, z))]\|^2 \big\rangle_B
        - \big\langle \tfrac1E \textstyle\sum_k
            Q_k(s, \mathrm{clip}(\mu_\omega(s, z))) \big\rangle_B

beside the losses of ``qam``: FQL's policy, constrained to the fine-tuned flow instead of the clone.
The one-step policy acts and gives the next action of the critics' target.

Source: the variant QAM-FQL of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv
2601.14234, and the authors' code.

Differences from the authors' code: as ``qam``; alpha of 0, which switches the policy off there, is
``qam`` here.
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
    DistillLoss,
    DPGLoss,
    FlowMatchingLoss,
    TDLoss,
)
from flowpolicy.modules import CriticEnsemble, OneStepActor, TargetNetwork, VelocityField
from flowpolicy.samplers import EulerSampler


def qam_fql(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    temperature: float = 1.0,
    alpha: float = 30.0,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    clip_norm: float | None = 1.0,
    lr: float = 3e-4,
) -> Agent:
    """Q-learning with adjoint matching, distilled into a one-step policy.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: ``T``, steps from noise to action, of both equations; with 3, the authors'
            score of ``qam_edit`` on 10 tasks falls to a third.
        critics: the number of critics.
        temperature: ``eta``, 0.1 to 3.3 in the published runs.
        alpha: strength of the distillation, above 0; 3 to 300 in the published runs.
        discount: per environment step.
        tau: speed of the target critics and of the cloned flow's copy.
        aggregation: of the target critics; ``mean_value`` for humanoidmaze.
        clip_norm: the largest norm of all gradients together; ``None`` for no limit.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.qam_fql(3, 2, hidden=(16,)).networks)
        ['actor', 'behavior_field', 'critic', 'field']
    """
    act_dim = chunk_width("qam_fql", act_dim, horizon)
    behavior_field = VelocityField(obs_dim, act_dim, hidden)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    base = TargetNetwork(behavior_field, tau)
    actor = OneStepActor(obs_dim, act_dim, hidden)
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(behavior_field),
            AdjointMatchingLoss(field, base, target, temperature=temperature, steps=flow_steps),
            DistillLoss(
                actor, teacher=flow, coefficient=require_positive("qam_fql", "alpha", alpha)
            ),
            DPGLoss(actor, critic),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        networks={"behavior_field": behavior_field},
        actors={"flow": flow, "behavior": EulerSampler(behavior_field, flow_steps)},
        clip_norm=clip_norm,
    )
