r"""Behaviour cloning with a Gaussian policy.

.. math::
    L = -\big\langle \log\pi_\theta(a \mid s) \big\rangle_B,\qquad
    \pi_\theta(\cdot \mid s) = \mathcal N(\mu_\theta(s), I)

The standard deviation is constantly 1, so up to a constant this is half the squared error of the
mean. How it is played, at its mean or sampled, is the evaluation protocol's choice.

Source: the baseline BC of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.losses import LogLikelihoodLoss
from flowpolicy.modules import GaussianActor


def bc(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    lr: float = 3e-4,
) -> Agent:
    """Clones the data with a Gaussian of unit variance; uses no rewards.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of the policy.
        lr: Adam's learning rate.

    Example:
        >>> import flowpolicy as fp
        >>> list(fp.agents.bc(3, 2, hidden=(16,)).networks)
        ['actor']
    """
    act_dim = chunk_width("bc", act_dim, horizon)
    actor = GaussianActor(obs_dim, act_dim, hidden)
    return Agent(
        policy=actor,
        losses=[LogLikelihoodLoss(actor)],
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
