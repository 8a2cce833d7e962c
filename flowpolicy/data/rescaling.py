"""Actions of any box, brought to [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowpolicy.data.validation import check_entry
from flowpolicy.errors import DataError


def to_unit_box(
    action: Tensor, low: Sequence[float] | float, high: Sequence[float] | float
) -> tuple[Tensor, tuple[float, ...], tuple[float, ...]]:
    """Map ``[low, high]`` to [-1, 1], component by component: `2 (a - low) / (high - low) - 1`.

    Args:
        action: `[N, A]`.
        low: one bound, or `A` of them.
        high: likewise.

    Returns:
        The rescaled actions `[N, A]`, and both bounds with `A` components.

    Raises:
        DataError: bounds that do not fit the actions, are infinite, or leave no room.

    Example:
        >>> to_unit_box(torch.tensor([[0.0, 5.0]]), low=0.0, high=[1.0, 10.0])
        (tensor([[-1.,  0.]]), (0.0, 0.0), (1.0, 10.0))
    """
    check_entry("Dataset.from_tensordict", "action", action, len(action) if action.ndim else 1)
    width = action.shape[-1]
    bounds = [torch.as_tensor(b, dtype=torch.float64, device=action.device) for b in (low, high)]
    for name, bound in zip(("action_low", "action_high"), bounds, strict=True):
        if bound.ndim > 1 or bound.numel() not in (1, width) or not bool(bound.isfinite().all()):
            raise DataError(
                f"Dataset.from_tensordict: {name} must be one finite number or {width}, "
                f"one per action component; got {bound.tolist()}."
            )
    lower, upper = (bound.expand(width) for bound in bounds)
    if not bool((lower < upper).all()):
        raise DataError(
            "Dataset.from_tensordict: action_low must be below action_high, "
            f"got {lower.tolist()} and {upper.tolist()}."
        )
    # In the actions' own precision, in which 0.4 is another number than in double precision.
    outside = (action < lower.to(action)) | (action > upper.to(action))
    if bool(outside.any()):
        row = int(outside.any(dim=-1).nonzero()[0])
        raise DataError(
            f"Dataset.from_tensordict: 'action': {int(outside.any(dim=-1).sum())} of {len(action)} "
            f"rows outside the bounds {lower.tolist()} to {upper.tolist()}, first at row {row} "
            f"({action[row].tolist()}). "
            "Give the bounds of the environment's action space."
        )
    unit = 2 * (action.double() - lower) / (upper - lower) - 1
    return unit.clamp(-1, 1).float(), tuple(lower.tolist()), tuple(upper.tolist())
