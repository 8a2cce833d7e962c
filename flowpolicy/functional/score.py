"""How a predicted noise meets the critics' gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from flowpolicy.errors import require_positive
from flowpolicy.functional.squared_error import squared_error

ScoreError = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(predicted noise [*B, A], gradient [*B, A], sigma [*B, 1]) -> [*B, 1]``."""


@final
@dataclass(frozen=True)
class QScoreError:
    r"""Q-score matching: the predicted noise shall be minus the scaled gradient.

    .. math:: e = \tfrac1A \big\| \epsilon_\psi + \tfrac1\eta\, G \big\|^2

    Args:
        temperature: ``eta`` > 0.

    Raises:
        ConfigError: a temperature that is not a finite number above 0.

    Example:
        >>> import torch
        >>> noise, gradient = torch.tensor([[1.0]]), torch.tensor([[1.0]])
        >>> QScoreError(temperature=0.5)(noise, gradient, torch.ones(1, 1))
        tensor([[9.]])

    Source: Psenka et al., "Learning a diffusion model policy from rewards via Q-score matching",
    2023, arXiv 2312.11752, in the form of the released code of Li, Levine, "Q-learning with adjoint
    matching", ICLR 2026, arXiv 2601.14234.
    """

    temperature: float

    def __post_init__(self) -> None:
        require_positive("QScoreError", "temperature", self.temperature)

    def __call__(self, noise: Tensor, gradient: Tensor, sigma: Tensor) -> Tensor:
        """``[*B, A], [*B, A], [*B, 1] -> [*B, 1]``; ``sigma`` is not used."""
        del sigma
        return squared_error(noise, -gradient / self.temperature)


def noise_alignment(noise: Tensor, gradient: Tensor, sigma: Tensor) -> Tensor:
    r"""Soft guidance: the predicted noise is pushed against the gradient.

    .. math:: e = \tfrac1A\, \sigma_t\, G \cdot \epsilon_\psi

    Without a minimum of its own: it goes with a noise-matching loss.

    Args:
        noise: ``[*B, A]``, predicted.
        gradient: ``G`` ``[*B, A]``, of the critics.
        sigma: ``[*B, 1]``, the share of noise.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> noise, gradient = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, -1.0]])
        >>> noise_alignment(noise, gradient, torch.full((1, 1), 0.5))
        tensor([[-0.2500]])

    Source: Fang et al., "Diffusion actor-critic: formulating constrained policy iteration as
    diffusion noise regression for offline reinforcement learning", 2024, arXiv 2405.20555.
    """
    return (sigma * gradient * noise).mean(dim=-1, keepdim=True)
