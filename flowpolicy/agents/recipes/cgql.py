r"""Classifier-guided Q-learning, and its two variants that value noisy actions.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,
        \mathrm{agg}_k\, \bar Q_k(s', \mathrm{clip}(\mathrm{guided}(s', z')), 1) \\
    L_Q &= \big\langle (Q_k(s, a, 1) - y)^2 \big\rangle_{k, B} \\
    L_\text{flow} &= \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    \dot x &= v_{\bar\theta}(s, x, t) + \frac{\vartheta}{t}
        \Big(x + \frac{1 - t}{\eta}\, \nabla_x\, \tfrac1E \textstyle\sum_k Q_k(s, x, t^\star)\Big)

The target of a cloned flow, guided by the critics at every step but the first; no network learns
the improved policy. The guide asks the critics as if noisy actions were clean, :math:`t^\star = 1`
(``cgql``), or at their time, :math:`t^\star = t`, for which the critics also learn

.. math::
    L_\text{noisy} = c\,\big\langle
        e\big(Q_k(s, x_t, t), \mathrm{sg}[\bar Q_k(s, a, 1)]\big) \big\rangle_B

with the squared error (``cgql_mse``: the mean of what the noisy action may become) or with LINEX
(``cgql_linex``: its soft maximum).

Source: Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234, and the
authors' code, whose runs have 10 critics and ``Pessimistic(0.5)``, the defaults here.

Differences from the authors' code: their inverse temperature is ``1 / temperature``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.errors import require_at_least, require_positive
from flowpolicy.functional import Aggregation, LinexError, Pessimistic, td_error
from flowpolicy.losses import FlowMatchingLoss, Loss, NoisyValueLoss, TDLoss
from flowpolicy.losses.noisy_value import EnsembleError
from flowpolicy.modules import NoisyCriticEnsemble, TargetNetwork, VelocityField
from flowpolicy.samplers import EulerSampler, GuidedSampler, as_if_clean, at_their_time
from flowpolicy.samplers.guides import Guide


def cgql(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    guidance: float = 0.1,
    temperature: float = 0.1,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    lr: float = 3e-4,
) -> Agent:
    """Classifier-guided Q-learning.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action, at least 2: the first goes unguided.
        critics: the number of critics.
        guidance: ``vartheta``, 0.01 or 0.1 in the published runs; 0 acts as the clone.
        temperature: ``eta`` of the critics' gradient.
        discount: per environment step.
        tau: speed of the target critics and of the target flow.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.cgql(3, 2, hidden=(16,)).targets)
        ['critic', 'field']
    """
    return _guided(
        "cgql",
        obs_dim,
        act_dim,
        guide=as_if_clean,
        horizon=horizon,
        hidden=hidden,
        flow_steps=flow_steps,
        critics=critics,
        guidance=guidance,
        temperature=temperature,
        discount=discount,
        tau=tau,
        aggregation=aggregation,
        lr=lr,
    )


def cgql_mse(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    guidance: float = 0.1,
    noisy_coefficient: float = 0.1,
    temperature: float = 0.1,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    lr: float = 3e-4,
) -> Agent:
    """Classifier-guided Q-learning whose critics regress the mean value of noisy actions.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action, at least 2: the first goes unguided.
        critics: the number of critics.
        guidance: ``vartheta``, 0.01 to 1 in the published runs; 0 acts as the clone.
        noisy_coefficient: ``c`` of the loss of noisy actions, above 0; 0.001 or 0.1 in the
            published runs.
        temperature: ``eta`` of the critics' gradient.
        discount: per environment step.
        tau: speed of the target critics and of the target flow.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> [loss.name for loss in fp.agents.cgql_mse(3, 2, hidden=(16,)).loss.losses]
        ['qvalue', 'flow', 'noisy_value']
    """
    return _guided(
        "cgql_mse",
        obs_dim,
        act_dim,
        guide=at_their_time,
        noisy_error=td_error,
        noisy_coefficient=noisy_coefficient,
        horizon=horizon,
        hidden=hidden,
        flow_steps=flow_steps,
        critics=critics,
        guidance=guidance,
        temperature=temperature,
        discount=discount,
        tau=tau,
        aggregation=aggregation,
        lr=lr,
    )


def cgql_linex(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 10,
    guidance: float = 0.1,
    noisy_coefficient: float = 0.1,
    temperature: float = 0.1,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = Pessimistic(0.5),
    lr: float = 3e-4,
) -> Agent:
    """Classifier-guided Q-learning whose critics regress the soft maximum of noisy actions.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action, at least 2: the first goes unguided.
        critics: the number of critics.
        guidance: ``vartheta``, 0.01 to 1 in the published runs; 0 acts as the clone.
        noisy_coefficient: ``c`` of the loss of noisy actions, above 0; 0.001 or 0.1 in the
            published runs.
        temperature: ``eta`` of the critics' gradient and of the soft maximum.
        discount: per environment step.
        tau: speed of the target critics and of the target flow.
        aggregation: of the target critics.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> fp.agents.cgql_linex(3, 2, hidden=(16,)).loss.losses[2].error.temperature
        0.1
    """
    return _guided(
        "cgql_linex",
        obs_dim,
        act_dim,
        guide=at_their_time,
        noisy_error=LinexError(temperature),
        noisy_coefficient=noisy_coefficient,
        horizon=horizon,
        hidden=hidden,
        flow_steps=flow_steps,
        critics=critics,
        guidance=guidance,
        temperature=temperature,
        discount=discount,
        tau=tau,
        aggregation=aggregation,
        lr=lr,
    )


def _guided(
    name: str,
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int,
    hidden: Sequence[int],
    flow_steps: int,
    critics: int,
    guidance: float,
    temperature: float,
    discount: float,
    tau: float,
    aggregation: Aggregation,
    lr: float,
    guide: Guide,
    noisy_error: EnsembleError | None = None,
    noisy_coefficient: float = 0.0,
) -> Agent:
    act_dim = chunk_width(name, act_dim, horizon)
    require_at_least(name, "flow_steps", flow_steps, 2)  # the first goes unguided
    field = VelocityField(obs_dim, act_dim, hidden)
    critic = NoisyCriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    flow = EulerSampler(TargetNetwork(field, tau), flow_steps)
    guided = GuidedSampler(flow, critic, coefficient=guidance, temperature=temperature, guide=guide)
    losses: list[Loss] = [
        TDLoss(critic, target, next_actor=guided, discount=discount, aggregation=aggregation),
        FlowMatchingLoss(field),
    ]
    if noisy_error is not None:
        require_positive(name, "noisy_coefficient", noisy_coefficient)
        noisy = NoisyValueLoss(critic, target, error=noisy_error, coefficient=noisy_coefficient)
        noisy.set_keys(x0="noisy_x0", time="noisy_time")
        losses.append(noisy)
    return Agent(
        policy=guided,
        losses=losses,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
