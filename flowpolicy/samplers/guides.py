"""What critics say of a noisy action."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor

from flowpolicy.modules.evaluated_batch import Critic
from flowpolicy.modules.noisy_critic_ensemble import NoisyCriticEnsemble
from flowpolicy.modules.parts import require_noisy_critic

Guide = Callable[[Critic, Tensor, Tensor, Tensor], Tensor]
"""``(critic, observation [*B, O], x_t [*B, A], time [*B, 1]) -> [E, *B, 1]``: what the critics say
of a noisy action."""


def as_if_clean(critic: Critic, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
    r"""The values of a noisy action as if it were clean, :math:`Q_k(s, x_t)`, with any critic.

    Args:
        critic: with ``values``.
        observation: ``[*B, O]``.
        x_t: ``[*B, A]``.
        time: ``[*B, 1]``, not used.

    Returns:
        ``[E, *B, 1]``.

    Example:
        >>> import torch
        >>> from flowpolicy.modules import CriticEnsemble
        >>> critic, s, x = CriticEnsemble(3, 2, (8,)), torch.zeros(1, 3), torch.zeros(1, 2)
        >>> as_if_clean(critic, s, x, torch.full((1, 1), 0.5)).shape
        torch.Size([2, 1, 1])
    """
    del time
    return critic.values(observation, x_t)


def at_their_time(critic: Critic, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
    r"""The values of a noisy action at its time, :math:`Q_k(s, x_t, t)`, with a noisy critic.

    Args:
        critic: with ``values_at``, such as a ``NoisyCriticEnsemble``.
        observation: ``[*B, O]``.
        x_t: ``[*B, A]``.
        time: ``[*B, 1]``.

    Returns:
        ``[E, *B, 1]``.

    Example:
        >>> import torch
        >>> from flowpolicy.modules import NoisyCriticEnsemble
        >>> critic, s, x = NoisyCriticEnsemble(3, 2, (8,)), torch.zeros(1, 3), torch.zeros(1, 2)
        >>> at_their_time(critic, s, x, torch.full((1, 1), 0.5)).shape
        torch.Size([10, 1, 1])
    """
    require_noisy_critic("at_their_time", "critic", critic)
    return cast("NoisyCriticEnsemble", critic).values_at(observation, x_t, time)
