"""Actions of any box, brought to [-1, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flowpolicy.data.info import DatasetInfo
from flowpolicy.data.layout import Key
from flowpolicy.data.validation import ACTIONS, check_entry, spell
from flowpolicy.errors import DataError


def rescaled(
    entries: Mapping[Key, Tensor],
    info: DatasetInfo,
    low: Sequence[float] | float | None,
    high: Sequence[float] | float | None,
) -> tuple[dict[Key, Tensor], DatasetInfo]:
    """The entries with all actions in [-1, 1], and what is known about them with the bounds.

    Args:
        entries: as they were recorded.
        info: what is known about them.
        low: what the environment calls its smallest action; nothing changes without bounds.
        high: what it calls its largest.

    Raises:
        DataError: one bound alone, or as :func:`to_unit_box`.
    """
    entries = dict(entries)
    if (low is None) != (high is None):
        raise DataError(
            "Dataset.from_tensordict: action_low and action_high belong together; give both."
        )
    if low is None or high is None or not all(map(len, entries.values())):
        return entries, info
    for key in ACTIONS:
        if key in entries:
            entries[key], lower, upper = to_unit_box(entries[key], low, high, key)
            info = replace(info, action_low=lower, action_high=upper)
    return entries, info


def to_unit_box(
    action: Tensor,
    low: Sequence[float] | float,
    high: Sequence[float] | float,
    key: Key = "action",
) -> tuple[Tensor, tuple[float, ...], tuple[float, ...]]:
    """Map ``[low, high]`` to [-1, 1], component by component: `2 (a - low) / (high - low) - 1`.

    Args:
        action: `[N, A]`.
        low: one bound, or `A` of them.
        high: likewise.
        key: of which entry they are, for messages.

    Returns:
        The rescaled actions `[N, A]`, and both bounds with `A` components.

    Raises:
        DataError: bounds that do not fit the actions, are infinite, or leave no room.

    Example:
        >>> to_unit_box(torch.tensor([[0.0, 5.0]]), low=0.0, high=[1.0, 10.0])
        (tensor([[-1.,  0.]]), (0.0, 0.0), (1.0, 10.0))
    """
    check_entry("Dataset.from_tensordict", key, action, len(action) if action.ndim else 1)
    width = action.shape[-1]
    lower = _bound("action_low", low, width).to(action.device)
    upper = _bound("action_high", high, width).to(action.device)
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
            f"Dataset.from_tensordict: {spell(key)}: {int(outside.any(dim=-1).sum())} of "
            f"{len(action)} rows outside the bounds {lower.tolist()} to {upper.tolist()}, first at "
            f"row {row} ({action[row].tolist()}). Give the bounds of the environment's action "
            "space."
        )
    unit = 2 * (action.double() - lower) / (upper - lower) - 1
    return unit.clamp(-1, 1).float(), tuple(lower.tolist()), tuple(upper.tolist())


def _bound(name: str, given: Sequence[float] | float, width: int) -> Tensor:
    """One bound for each component of an action, float64 `[A]`."""
    try:
        bound = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        bound = torch.tensor(torch.nan)
    if bound.ndim > 1 or bound.numel() not in (1, width) or not bool(bound.isfinite().all()):
        raise DataError(
            f"Dataset.from_tensordict: {name} must be one finite number or {width}, "
            f"one per action component; got {given!r}."
        )
    return bound.expand(width)
