"""GFP's weight of a data action."""

from __future__ import annotations

import torch
from torch import Tensor


def value_aware_weight(
    value: Tensor, reference: Tensor, scale: Tensor | float, temperature: Tensor | float
) -> Tensor:
    r"""How much better a data action is than the policy's, between 0 and 1.

    .. math::
        g = \frac{e^{\lambda q/\eta}}{e^{\lambda q/\eta} + e^{\lambda q_\text{ref}/\eta}}
          = \operatorname{sigmoid}\!\big(\tfrac{\lambda}{\eta}(q - q_\text{ref})\big)

    The sigmoid neither overflows nor gives NaN at any temperature.

    Args:
        value: ``[*B, 1]``, the value of the data action.
        reference: ``[*B, 1]``, the value of the policy's action.
        scale: ``lambda``, one number for the batch.
        temperature: ``eta`` > 0; small is nearly binary, large gives 1/2 everywhere.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> value_aware_weight(
        ...     torch.tensor([[0.01]]), torch.zeros(1, 1), scale=1.0, temperature=0.1
        ... )
        tensor([[0.5250]])

    Source: Nguimatsia Tiofack et al., "Guided flow policy", ICLR 2026, arXiv 2512.03973.
    """
    return torch.sigmoid((value - reference) * scale / temperature)
