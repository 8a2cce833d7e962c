r"""Basic adjoint matching: the baseline of QAM that differentiates its simulation.

.. math::
    L_\theta = \Big\langle \sum_{i=0}^{T-2} \frac{2}{\sigma_i^2}\,
        \big\|(f_\theta - f_{\bar\beta})(s, x_i, t_i)\big\|^2
        - \frac1\eta\,\mathrm{agg}_k\,Q_k(s, x_T) \Big\rangle_B

in the place of the loss of ``qam`` that trains the acting flow (``BasicAdjointMatchingLoss``);
everything else is as there.

Source: the baseline BAM of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv
2601.14234, and the authors' code. More than the objective differs from ``qam``, there as here: the
critics are the online ones, aggregated with pessimism, and see the end of the path unclipped.

Differences from the authors' code: as ``qam``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.functional import Aggregation, Pessimistic
from flowpolicy.losses import BasicAdjointMatchingLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import CriticEnsemble, TargetNetwork, VelocityField
from flowpolicy.samplers import EulerSampler


def bam(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    temperature: float = 0.1,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    clip_norm: float | None = 1.0,
    lr: float = 3e-4,
) -> Agent:
    """Basic adjoint matching.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: ``T``, steps from noise to action, of both equations; at least 2.
        critics: the number of critics.
        temperature: ``eta``, 0.03 or 0.1 in the published runs.
        discount: per environment step.
        tau: speed of the target critics and of the cloned flow's copy.
        aggregation: of the target critics, and of the critics that the flow climbs;
            ``mean_value`` for humanoidmaze.
        clip_norm: the largest norm of all gradients together; ``None`` for no limit.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.bam(3, 2, hidden=(16,)).networks)
        ['behavior_field', 'critic', 'field']
    """
    act_dim = chunk_width("bam", act_dim, horizon)
    behavior_field = VelocityField(obs_dim, act_dim, hidden)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    base = TargetNetwork(behavior_field, tau)
    return Agent(
        policy=flow,
        losses=[
            TDLoss(critic, target, next_actor=flow, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(behavior_field),
            BasicAdjointMatchingLoss(
                field,
                base,
                critic,
                temperature=temperature,
                steps=flow_steps,
                aggregation=aggregation,
            ),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        networks={"behavior_field": behavior_field},
        actors={"behavior": EulerSampler(behavior_field, flow_steps)},
        clip_norm=clip_norm,
    )
