r"""ReBRAC: TD3+BC with the behaviour term in the actor's and in the critics' loss.

.. math::
    y &= r + \gamma^n (1 - \text{terminated})\,\big(\mathrm{agg}_k\, \bar Q_k(s', a')
        - \alpha_Q \|a' - a'_\text{data}\|^2\big),\quad
        a' = \mathrm{clip}\big(\bar\pi(s') + \mathrm{clip}_{[-c, c]}(\sigma z')\big) \\
    L_Q &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B} \\
    L_\pi &= -\lambda \big\langle \mathrm{agg}_k\, Q_k(s, \pi(s)) \big\rangle_B
        + \alpha_\pi \big\langle \|\pi(s) - a\|^2 \big\rangle_B,\qquad
        \lambda = \mathrm{sg}\big[1 / \langle |\mathrm{agg}_k\, Q_k| \rangle_B\big]

The behaviour terms are sums over the action dimensions, unlike those of flow methods. The data's
next action is ``("next", "action")``, which ``fp.data.transforms.with_next_action`` adds and a
training run adds by itself; it is read only where ``critic_alpha`` is above 0. The actor and all
targets move in every second update. The actor explores with the clipped noise of the target; how it
is played, with or without it, is the evaluation protocol's choice.

Source: Tarasov et al., "Revisiting the minimalist approach to offline reinforcement learning",
2023, arXiv 2305.09836; as the baseline ReBRAC of Park, Li, Levine, "Flow Q-learning", ICML 2025,
arXiv 2502.02538, and the authors' code.

Differences from the authors' code: in the updates that leave the actor out, its Adam state rests
too; theirs goes on with a gradient of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.horizon import chunk_width
from flowpolicy.agents.parameter_groups import ParameterGroups
from flowpolicy.errors import require_positive
from flowpolicy.functional import Aggregation, inverse_mean_abs, min_value
from flowpolicy.losses import CloneLoss, DPGLoss, NextActionPenalty, TDLoss
from flowpolicy.modules import CriticEnsemble, DeterministicActor, NoisyActor, TargetNetwork


def rebrac(
    obs_dim: int,
    act_dim: int,
    *,
    horizon: int = 1,
    hidden: Sequence[int] = (512,) * 4,
    critics: int = 2,
    alpha: float = 0.01,
    critic_alpha: float = 0.01,
    noise: float = 0.2,
    noise_clip: float = 0.5,
    delay: int = 2,
    discount: float = 0.99,
    tau: float = 0.005,
    aggregation: Aggregation = min_value,
    lr: float = 3e-4,
    critic_lr: float | None = None,
) -> Agent:
    """ReBRAC.

    Args:
        obs_dim: ``O``.
        act_dim: ``A`` of the environment.
        horizon: ``h``, environment steps in an action chunk; actions are then ``[*B, h A]``.
        hidden: hidden sizes of every network.
        critics: the number of critics.
        alpha: strength of the behaviour term in the actor's loss, 0.001 to 1.
        critic_alpha: strength of the behaviour term in the critics' target, 0 to 0.5.
        noise: standard deviation of the noise on the target's action and in exploration; 0 is
            none.
        noise_clip: the largest such noise.
        delay: the actor and all targets move in every so many updates.
        discount: per environment step.
        tau: speed of the targets.
        aggregation: of the critics, in the target and in the actor's loss.
        lr: Adam's learning rate.
        critic_lr: that of the critics, above 0, where it is another.

    Example:
        >>> import flowpolicy as fp
        >>> sorted(fp.agents.rebrac(3, 2, hidden=(16,)).targets)
        ['actor', 'critic']
    """
    act_dim = chunk_width("rebrac", act_dim, horizon)
    if critic_lr is not None:
        require_positive("rebrac", "critic_lr", critic_lr)
    actor = DeterministicActor(obs_dim, act_dim, hidden, head_gain=0.1)
    critic = CriticEnsemble(obs_dim, act_dim, hidden, size=critics)
    smoothed = NoisyActor(TargetNetwork(actor, tau, every=delay), noise, noise_clip)
    # The authors sum over the action dimensions where the losses average.
    penalty = NextActionPenalty(act_dim * critic_alpha) if critic_alpha else None
    return Agent(
        policy=NoisyActor(actor, noise, noise_clip),
        losses=[
            TDLoss(
                critic,
                TargetNetwork(critic, tau, every=delay),
                next_actor=smoothed,
                discount=discount,
                aggregation=aggregation,
                penalty=penalty,
            ),
            DPGLoss(actor, critic, scale=inverse_mean_abs, aggregation=aggregation),
            CloneLoss(actor, coefficient=act_dim * alpha),
        ],
        optimizer=ParameterGroups(
            partial(torch.optim.Adam, lr=lr, fused=True),
            {} if critic_lr is None else {"critic": {"lr": critic_lr}},
        ),
        every={"dpg": delay, "clone": delay},
    )
