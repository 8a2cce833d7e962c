r"""Flow Q-learning.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{clip}(\mu_\omega(s', z'))) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    L_\omega &= \alpha \big\langle \tfrac1A
        \|\mu_\omega(s, z) - \mathrm{sg}[\mathrm{clip}(\mathrm{ODE}_\theta(s, z))]\|^2 \big\rangle_B
        - \lambda \big\langle \tfrac1E \textstyle\sum_k
            Q_k(s, \mathrm{clip}(\mu_\omega(s, z))) \big\rangle_B

A flow clones the data; a one-step policy is distilled from it with the same noise and climbs the
critics. Only the one-step policy acts. Unless ``alpha`` alone is given, it is learned: it moves
until the distillation error stays at a share of the clone's own variance (``spread``) or at
``target_error``.

Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538, and the authors' code.

Differences from the authors' code: alpha is learned and the critics' term scaled by default, so
that neither the rewards' size nor the actions' has to be known. With ``scale=unit_scale`` and an
alpha of 3 to 30,000, as in the presets, there is none in the update. Their metric ``mse``, which
costs a network pass of its own, is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.agents.parameter_groups import ParameterGroups
from flowpolicy.errors import ConfigError, require_positive
from flowpolicy.functional import (
    Aggregation,
    Scale,
    inverse_mean_abs,
    mean_value,
    unit_scale,
)
from flowpolicy.losses import (
    DistillLoss,
    DPGLoss,
    DualLoss,
    FlowMatchingLoss,
    SpreadLoss,
    TDLoss,
)
from flowpolicy.losses.coefficient_loss import CoefficientLoss
from flowpolicy.modules import (
    CriticEnsemble,
    LearnedCoefficient,
    OneStepActor,
    TargetNetwork,
    VelocityField,
)
from flowpolicy.samplers import EulerSampler


def fql(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 2,
    alpha: float | None = None,
    spread: float | None = None,
    target_error: float | None = None,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = mean_value,
    scale: Scale = inverse_mean_abs,
    lr: float = 3e-4,
) -> Agent:
    """Flow Q-learning.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        alpha: strength of the behaviour constraint; 0.03 to 10 with ``inverse_mean_abs``, 3 to
            30,000 without a scale. Learned where ``None``; with ``spread`` or ``target_error`` its
            value at the start.
        spread: learn alpha, so that the policy's mean squared error against its clone is this share
            of the clone's variance; 0.25 where neither this nor ``alpha`` nor ``target_error`` is
            given. Alpha then grows to 1000 at most, with ``unit_scale`` to 1e6.
        target_error: learn alpha, so that this error, per action dimension, is what is given here.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the target critics; ``min_value`` for adroit and OGBench's antmaze-large and
            -giant.
        scale: of the critics' term; ``inverse_mean_abs`` is independent of the rewards' scale,
            ``unit_scale`` what the papers' runs used.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.fql(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'distill_coefficient', 'field']
    """
    act_dim = chunk_width("fql", act_dim, horizon)
    for name, limit in (("target_error", target_error), ("spread", spread)):
        if limit is not None:
            require_positive("fql", name, limit)
    field = VelocityField(obs_dim, act_dim, hidden)
    flow = EulerSampler(field, flow_steps)
    actor = OneStepActor(obs_dim, act_dim, hidden)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    if alpha is None and target_error is None and spread is None:
        spread = 0.25
    learns = target_error is not None or spread is not None
    start = 0.1 if alpha is None else alpha
    strength = LearnedCoefficient(start) if learns else start
    distill = DistillLoss(actor, teacher=flow, coefficient=strength)
    return Agent(
        policy=actor,
        losses=[
            TDLoss(critic, target, next_actor=actor, discount=discount, aggregation=aggregation),
            FlowMatchingLoss(field),
            distill,
            DPGLoss(actor, critic, scale=scale),
            *_limits(distill, target_error, spread, scale),
        ],
        # Alpha spans orders of magnitude: it learns ten times as fast as the networks.
        optimizer=ParameterGroups(
            partial(torch.optim.Adam, lr=lr, fused=True),
            {"distill_coefficient": {"lr": 10 * lr}} if learns else {},
        ),
        actors={"flow": flow},
    )


def _limits(
    distill: DistillLoss, target_error: float | None, spread: float | None, scale: Scale
) -> tuple[CoefficientLoss, ...]:
    """What learns alpha, where something does."""
    if target_error is not None and spread is not None:
        raise ConfigError(
            f"fql: target_error={target_error!r} and spread={spread!r} both limit the distillation "
            "error. Give one of them."
        )
    if spread is not None:
        # Values in the rewards' units may ask for an alpha of tens of thousands.
        return (SpreadLoss(distill, spread, largest=1e6 if scale is unit_scale else 1e3),)
    return () if target_error is None else (DualLoss(distill, target_error),)
