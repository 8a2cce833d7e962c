"""The dual of a constraint."""

from __future__ import annotations

from torch import Tensor


def dual(coefficient: Tensor, constrained: Tensor, limit: float) -> Tensor:
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


def log_dual(log_coefficient: Tensor, constrained: Tensor) -> Tensor:
    r"""A dual whose steps change the coefficient by a factor, for the limit 1.

    .. math:: \log(c)\ \mathrm{sg}[1 - \ell]

    As ``dual`` with a limit of 1, but how fast the logarithm moves does not depend on the
    coefficient.

    Args:
        log_coefficient: ``log c``, ``[]``.
        constrained: ``[*B, 1]``, detached here; its mean shall not exceed 1.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> log_dual(torch.tensor(1.0), torch.tensor([[3.0]]))
        tensor([[-2.]])
    """
    return log_coefficient * (1 - constrained.detach())
