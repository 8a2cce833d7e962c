"""States of whatever else a run consists of: schedules, samplers, counters."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from flowpolicy.checkpoint.contents import json_in, tensors_in, to_json
from flowpolicy.checkpoint.nested_state import joined_state, split_state
from flowpolicy.checkpoint.tensors import tensors_to_bytes
from flowpolicy.errors import CheckpointError

EXTRAS = "extras.json"
EXTRA_TENSORS = "extras.safetensors"


@runtime_checkable
class Stateful(Protocol):
    """Anything that gives its state and takes it back: a learning-rate schedule, a sampler.

    The state may hold tensors, numbers, texts, ``None``, and lists, tuples and dicts of them.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> isinstance(torch.optim.lr_scheduler.StepLR(optimizer, 10), Stateful)
        True
    """

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Goes on from a state."""


def extras_to_files(extras: Mapping[str, Stateful]) -> dict[str, bytes]:
    """The states by name, tensors apart from the rest.

    Raises:
        CheckpointError: A state holds what a checkpoint cannot.
    """
    values: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, extra in extras.items():
        values[name], its_own = split_state(extra.state_dict(), name)
        if twice := sorted(set(its_own) & set(tensors)):
            raise CheckpointError(f"two extras have the tensor {twice[0]!r}; rename one of them")
        tensors |= its_own
    return {EXTRAS: to_json(values), EXTRA_TENSORS: tensors_to_bytes(tensors)}


def files_to_extras(
    files: Mapping[str, bytes], extras: Mapping[str, Stateful], origin: str
) -> Callable[[], None]:
    """Checks the saved states and returns the function that puts them back, all or none.

    Raises:
        CheckpointError: One was not saved, or has other entries than the object's own state.
    """
    values = json_in(files, EXTRAS, origin)
    tensors = tensors_in(files, EXTRA_TENSORS, origin)
    states: dict[str, Any] = {}
    for name, extra in extras.items():
        if name not in values:
            held = ", ".join(map(repr, values)) or "none"
            raise CheckpointError(f"{origin} holds no state of {name!r}; extras in it: {held}")
        states[name] = joined_state(values[name], tensors, origin)
        _require_same_entries(name, states[name], extra, origin)

    def restore() -> None:
        for name in values.keys() - extras.keys():
            warnings.warn(
                f"{origin} holds the state of {name!r}, which nothing takes back; pass the object "
                f"in extras under this name",
                stacklevel=4,
            )
        undo: list[tuple[Stateful, Any]] = []
        for name, extra in extras.items():
            undo.append((extra, copy.deepcopy(extra.state_dict())))
            try:
                extra.load_state_dict(states[name])
            except Exception as error:
                for changed, before in undo:
                    changed.load_state_dict(before)
                raise CheckpointError(
                    f"{origin}: {name!r} does not take its state back ({error}); nothing was loaded"
                ) from error

    return restore


def _require_same_entries(name: str, state: Any, extra: Stateful, origin: str) -> None:
    present = extra.state_dict()
    if not isinstance(present, Mapping) or not isinstance(state, Mapping):
        return
    if set(present) != set(state):
        raise CheckpointError(
            f"{origin}: the state of {name!r} has the entries {sorted(map(str, state))}, a "
            f"{type(extra).__name__} has {sorted(map(str, present))}; build what was saved"
        )
