"""Named tensors as safetensors bytes, and the comparison before they are applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from flowpolicy.checkpoint.directory import DamagedCheckpointError
from flowpolicy.errors import CheckpointError


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialises tensors by name; views of one storage are written out singly."""
    return save(
        {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    )


def bytes_to_tensors(content: bytes, origin: str) -> dict[str, Tensor]:
    """Reads what :func:`tensors_to_bytes` wrote.

    Raises:
        DamagedCheckpointError: ``content`` is not a complete safetensors file.
    """
    try:
        return dict(sorted(load(content).items()))  # safetensors gives no order
    except (safetensors.SafetensorError, ValueError) as error:
        raise DamagedCheckpointError(
            f"{origin} is not a readable safetensors file: {error}"
        ) from error


def tensors_of(state: Mapping[str, Any], origin: str) -> dict[str, Tensor]:
    """The state dict of a module as tensors alone.

    Raises:
        CheckpointError: An entry is not a tensor and would be lost.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{origin}: entry {name!r} is a {type(value).__name__}; a checkpoint holds tensors "
                "(keep plain values in a tensor buffer)"
            )
    return dict(state)


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Says which is the first tensor with NaN or infinite values, if any.

    Example:
        >>> not_finite({"weight": torch.tensor([1.0, float("nan")])})
        "1 of 2 values of 'weight' are not finite"
    """
    for name, value in tensors.items():
        if value.is_floating_point() and (bad := int((~torch.isfinite(value)).sum())):
            return f"{bad} of {value.numel()} values of {name!r} are not finite"
    return None


def require_finite(tensors: Mapping[str, Tensor], origin: str) -> None:
    """Refuses NaN and infinite values, so that a good checkpoint is never followed by a bad one.

    Raises:
        CheckpointError: Names the first tensor with such a value.
    """
    if found := not_finite(tensors):
        raise CheckpointError(f"{origin}: {found}; the checkpoint was not written")


def require_same_layout(
    saved: Mapping[str, Tensor], present: Mapping[str, Tensor], origin: str
) -> None:
    """Refuses tensors of another architecture.

    Raises:
        CheckpointError: Names the first tensor that differs, with both shapes or types.
    """
    for name, value in present.items():
        if name not in saved:
            raise CheckpointError(
                f"{origin} is of another architecture: the agent has {name!r} {_layout(value)}, "
                "the checkpoint does not"
            )
        other = saved[name]
        if other.shape != value.shape or other.dtype != value.dtype:
            raise CheckpointError(
                f"{origin} is of another architecture: {name!r} is {_layout(other)} in the "
                f"checkpoint and {_layout(value)} in the agent"
            )
    for name, value in saved.items():
        if name not in present:
            raise CheckpointError(
                f"{origin} is of another architecture: it has {name!r} {_layout(value)}, "
                "the agent does not"
            )


def _layout(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
