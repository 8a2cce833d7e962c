r"""Behaviour cloning with a flow.

.. math::
    L = \big\langle \tfrac1A \|v_\theta(s, x_t, t) - (a - x_0)\|^2 \big\rangle,\qquad
    \pi(s) = \mathrm{clip}(\mathrm{ODE}_\theta(s, z))

Source: Lipman et al., "Flow matching for generative modeling", 2022, arXiv 2210.02747; as the
behaviour part of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.losses import FlowMatchingLoss
from flowpolicy.modules import VelocityField
from flowpolicy.samplers import EulerSampler


def flow_bc(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    flow_steps: int = 10,
    lr: float = 3e-4,
) -> Agent:
    """Clones the data with a flow; uses no rewards.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of the field.
        flow_steps: Euler steps from noise to action.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> list(fp.agents.flow_bc(3, 2, hidden=(16,)).networks)
        ['field']
    """
    act_dim = chunk_width("flow_bc", act_dim, horizon)
    field = VelocityField(obs_dim, act_dim, hidden)
    return Agent(
        policy=EulerSampler(field, flow_steps),
        losses=[FlowMatchingLoss(field)],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
