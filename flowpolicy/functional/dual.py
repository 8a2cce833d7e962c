"""The dual of a constraint."""

from __future__ import annotations

from torch import Tensor


def dual(coefficient: Tensor, constrained: Tensor, limit: float | Tensor) -> Tensor:
    r"""The dual function of ``constrained <= limit``, to be minimised over the coefficient.

    .. math:: c\,\mathrm{sg}[\text{limit} - \ell]

    Its gradient raises the coefficient where the limit is exceeded and lowers it elsewhere.

    Args:
        coefficient: ``c``, ``[]``.
        constrained: ``[*B, 1]``, detached here.
        limit: what the mean of ``constrained`` shall not exceed.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> dual(torch.tensor(2.0), torch.tensor([[3.0]]), limit=1.0)
        tensor([[-4.]])
    """
    return coefficient * (limit - constrained.detach())
