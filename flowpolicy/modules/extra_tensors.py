"""Tensors beside a module's own in its state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def save_tensors(
    tensors: Mapping[str, Tensor], destination: dict[str, Any], *, keep_vars: bool
) -> None:
    """Adds tensors to a state dict, by their names in it."""
    for key, tensor in tensors.items():
        destination[key] = tensor if keep_vars else tensor.detach()


def load_tensors(
    tensors: Mapping[str, Tensor],
    state_dict: Mapping[str, Tensor],
    missing_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Copies what a state dict holds of them; says what it lacks, and what has another shape."""
    for key, tensor in tensors.items():
        if key not in state_dict:
            missing_keys.append(key)
        elif state_dict[key].shape != tensor.shape:
            error_msgs.append(
                f"{key}: expected {list(tensor.shape)}, got {list(state_dict[key].shape)}."
            )
        else:
            tensor.detach().copy_(state_dict[key])
