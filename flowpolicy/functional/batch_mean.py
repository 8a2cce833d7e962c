"""The mean over a batch, wherever its rows are."""

from __future__ import annotations

from torch import Tensor

from flowpolicy.ranks import is_spread, mean_over_ranks


def batch_mean(values: Tensor) -> Tensor:
    r"""The mean over the whole batch, also where several processes hold as many rows of it each.

    .. math:: \langle x \rangle_B

    A number of the whole batch that enters the loss of each sample must be made with it: only then
    are the gradients of several processes those of one with all rows. The mean over the rows at
    hand, ``values.mean()``, does for everything that is averaged afterwards.

    Args:
        values: ``[*B, 1]``.

    Returns:
        ``[]``.

    Example:
        >>> import torch
        >>> batch_mean(torch.tensor([[1.0], [3.0]]))
        tensor(2.)
    """
    mean = values.mean()
    return mean_over_ranks(mean) if is_spread() else mean
