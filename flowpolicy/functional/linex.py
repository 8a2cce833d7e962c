"""LINEX regression, whose minimiser is a soft maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from flowpolicy.errors import require_positive


@final
@dataclass(frozen=True)
class LinexError:
    r"""Linear-exponential error: its minimiser is the soft maximum of the targets.

    .. math::
        e = \frac1E \sum_k
            \begin{cases} e^{\Delta_k} + Q_k/\eta & \Delta_k \le \Delta_\text{max} \\
                \Delta_k & \text{otherwise}\end{cases},\qquad
        \Delta_k = (y_k - Q_k)/\eta,\qquad
        \arg\min_Q\ \mathbb E\,e = \eta \log \mathbb E\, e^{y/\eta}

    Beyond the limit the exponential is replaced by a line of the smaller slope ``-1/eta``, so that
    one far target does not decide; the error jumps there, its gradient does not overflow.

    Args:
        temperature: ``eta`` > 0; large gives the mean of the targets, small their maximum.
        limit: the largest exponent.

    Raises:
        ConfigError: a temperature or limit that is not a finite number above 0.

    Example:
        >>> import torch
        >>> LinexError(temperature=1.0)(torch.zeros(1, 1, 1), torch.tensor([[[1.0]]]))
        tensor([[2.7183]])

    Source: Varian, "A Bayesian approach to real estate assessment", 1975; as used by CGQL-L in the
    released code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234.
    """

    temperature: float
    limit: float = 5.0

    def __post_init__(self) -> None:
        require_positive("LinexError", "temperature", self.temperature)
        require_positive("LinexError", "limit", self.limit)

    def __call__(self, values: Tensor, targets: Tensor) -> Tensor:
        """``[E, *B, 1]`` and ``[E, *B, 1]`` or ``[*B, 1]`` to ``[*B, 1]``."""
        difference = (targets - values) / self.temperature
        # Clamped before the exponential: the branch that is not taken must not give NaN gradients.
        exponential = difference.clamp_max(self.limit).exp() + values / self.temperature
        error = torch.where(difference <= self.limit, exponential, difference)
        return error.mean(dim=0)
