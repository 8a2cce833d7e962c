"""One number that says whether a gradient can be used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GRAD_NORM = "grad_norm"
"""Its name among the metrics."""


def gradient_norm(norms: Sequence[Tensor], loss: Tensor) -> Tensor:
    r"""The norm of all gradients together, ``[]``; NaN where the loss is not finite.

    .. math:: \|g\| = \Big(\sum_i \|g_i\|^2\Big)^{1/2}

    It is finite where the loss and every gradient are, and the squares of the gradients, which
    optimizers keep, can be summed. Where gradients are summed over processes, take the norms and
    the loss of the sums, so that all processes decide alike.

    Args:
        norms: of the gradients of the parameters, ``[]`` each.
        loss: the sum of all losses, ``[]``.

    Example:
        >>> import torch
        >>> norms = [torch.tensor(3.0), torch.tensor(4.0)]
        >>> gradient_norm(norms, torch.tensor(1.0)), gradient_norm(norms, torch.tensor(torch.inf))
        (tensor(5.), tensor(nan))
    """
    norm: Tensor = torch.linalg.vector_norm(torch.stack(list(norms)))
    return norm + 0.0 * loss.detach()  # 0 times what is not finite is NaN
