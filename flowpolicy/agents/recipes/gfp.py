r"""Guided flow policy.

.. math::
    \lambda &= \mathrm{sg}\big[1 / \langle |\mathrm{agg}_k\, Q_k(s, \hat a)| \rangle_B\big],\qquad
        \hat a = \mathrm{clip}(\mu_\theta(s, z)) \\
    g &= \operatorname{sigmoid}\big(\tfrac\lambda\eta (\bar Q(s, a) - \bar Q_\text{ref}(s))\big) \\
    L_\text{VaBC} &= \big\langle g\,
        \tfrac1A \|v_\omega(s, x_t, t) - (a - x_0)\|^2 \big\rangle_B \\
    L_\text{actor} &= \alpha \big\langle \tfrac1A
        \|\mu_\theta(s, z) - \mathrm{sg}[\mathrm{clip}(\mathrm{ODE}_\omega(s, z))]\|^2 \big\rangle_B
        - \lambda \big\langle \mathrm{agg}_k\, Q_k(s, \hat a) \big\rangle_B \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B},\qquad
        y = r + \gamma^n (1 - \text{terminated})\,
            \mathrm{combine}_p\, \bar Q(s', \mu_p(s', z'))

FQL whose clone prefers the data actions that are better than the policy's (value-aware behaviour
cloning, VaBC).

Source: Nguimatsia Tiofack, Le Hellard, Schramm, Perrin-Gilbert, Carpentier, "Guided flow policy",
ICLR 2026, arXiv 2512.03973, and the authors' code.

Differences from the authors' code: the clone's bootstrap action is that of the next observation, as
in the paper; their release generates it from the current one, which
``bootstrap_flow=FromCurrentObservation`` and the presets reproduce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.blend import Blend
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.errors import ConfigError
from flowpolicy.functional import (
    Aggregation,
    inverse_mean_abs,
    max_value,
    mean_value,
    min_value,
)
from flowpolicy.losses import DistillLoss, DPGLoss, FlowMatchingLoss, TDLoss
from flowpolicy.modules import (
    Actor,
    CriticEnsemble,
    FromCurrentObservation,
    OneStepActor,
    TargetNetwork,
    TimeEmbedding,
    VelocityField,
)
from flowpolicy.samplers import EulerSampler
from flowpolicy.weights import ValueAwareWeight


def _as_it_is(actor: Actor) -> Actor:
    return actor


_BLENDS = {
    "actor": Blend(("actor",)),
    "flow": Blend(("flow",)),
    "vabc": Blend(("flow",)),  # the authors' word for the flow
    "mean": Blend(("actor", "flow"), mean_value),
    "min": Blend(("actor", "flow"), min_value),
    "max": Blend(("actor", "flow"), max_value),
}

NAMED_OPTIONS: dict[str, Mapping[str, Any]] = {
    "bootstrap": _BLENDS,
    "reference": _BLENDS,
    "bootstrap_flow": {"current": FromCurrentObservation},
}
"""For the command line."""


def gfp(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    critics: int = 2,
    alpha: float = 1.0,
    temperature: float = 1e-3,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = mean_value,
    bootstrap: Blend = Blend(("actor",)),
    reference: Blend = Blend(("actor",)),
    bootstrap_flow: Callable[[Actor], Actor] = _as_it_is,
    lr: float = 3e-4,
) -> Agent:
    """Guided flow policy.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        flow_steps: Euler steps from noise to action.
        critics: the number of critics.
        alpha: strength of the behaviour constraint, 0.01 to 10.
        temperature: ``eta`` of the weight: 0.1 is soft, 1e-3 moderate, 1e-5 nearly binary.
        discount: per environment step.
        tau: speed of the target critics.
        aggregation: of the critics, everywhere.
        bootstrap: which policies' values enter the critics' target; ``Blend(("actor", "flow"))`` is
            the conservative one.
        reference: which policies' values data actions are compared with.
        bootstrap_flow: wraps the flow where it bootstraps.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.gfp(3, 2, hidden=(16,)).networks)
        ['actor', 'critic', 'field']
    """
    act_dim = chunk_width("gfp", act_dim, horizon)
    for name, blend in (("bootstrap", bootstrap), ("reference", reference)):
        if not isinstance(blend, Blend):
            raise ConfigError(
                f"gfp: {name} must be a Blend such as Blend(('actor', 'flow'), min_value), got "
                f"{blend!r}. Names are for fp.agents.build and the command line."
            )
    field = VelocityField(obs_dim, act_dim, hidden, time_embedding=TimeEmbedding(64))
    flow = EulerSampler(field, flow_steps)
    actor = OneStepActor(obs_dim, act_dim, hidden)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    target = TargetNetwork(critic, tau)
    weight = ValueAwareWeight(
        target,
        critic=critic,
        reference=reference.pick({"actor": actor, "flow": flow}),
        temperature=temperature,
        actor=actor,
        combine=reference.combine,
        aggregation=aggregation,
    )
    next_actors = bootstrap.pick({"actor": actor, "flow": bootstrap_flow(flow)})
    return Agent(
        policy=actor,
        losses=[
            TDLoss(
                critic,
                target,
                next_actor=next_actors,
                discount=discount,
                aggregation=aggregation,
                combine=bootstrap.combine,
            ),
            FlowMatchingLoss(field, weight=weight),
            DistillLoss(actor, teacher=flow, coefficient=alpha),
            DPGLoss(actor, critic, scale=inverse_mean_abs, aggregation=aggregation),
        ],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        actors={"flow": flow},
    )
