"""A nested state as JSON and tensors by path, and back as it was."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from flowpolicy.errors import CheckpointError

_TENSOR: Final = "$tensor"
_TUPLE: Final = "$tuple"
_ITEMS: Final = "$items"
_MAPPINGS: Final = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}


def split_state(state: Any, path: str) -> tuple[Any, dict[str, Tensor]]:
    """A state as a value for JSON, and the tensors in it by their paths.

    Args:
        state: Tensors, numbers, texts, ``None``, and lists, tuples and dicts of them; keys are
            texts or whole numbers.
        path: Where the paths begin.

    Raises:
        CheckpointError: It holds something else; says where.

    Example:
        >>> import torch
        >>> value, tensors = split_state({"lr": 0.1, "of": {3: (torch.ones(2), None)}}, "schedule")
        >>> list(tensors)
        ['schedule/of/3/0']
        >>> joined_state(value, tensors, "checkpoint")
        {'lr': 0.1, 'of': {3: (tensor([1., 1.]), None)}}
    """
    tensors: dict[str, Tensor] = {}
    return _split(state, path, tensors), tensors


def joined_state(value: Any, tensors: Mapping[str, Tensor], origin: str) -> Any:
    """The inverse of :func:`split_state`.

    Raises:
        CheckpointError: A tensor is missing.
    """
    if isinstance(value, list):
        return [joined_state(each, tensors, origin) for each in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        if value[_TENSOR] not in tensors:
            raise CheckpointError(f"{origin}: the tensor {value[_TENSOR]!r} is missing")
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(joined_state(each, tensors, origin) for each in value[_TUPLE])
    if _ITEMS in value:
        items = [(key, joined_state(each, tensors, origin)) for key, each in value[_ITEMS]]
        return _MAPPINGS[value["type"]](dict(items))
    return {key: joined_state(each, tensors, origin) for key, each in value.items()}


def _split(state: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    kind = type(state)
    if isinstance(state, Tensor):
        while path in tensors:  # {"a/b": ...} beside {"a": {"b": ...}}
            path += "'"
        tensors[path] = state
        return {_TENSOR: path}
    if state is None or kind in (bool, int, float, str):
        return state
    if kind in (list, tuple):
        values = [_split(each, f"{path}/{i}", tensors) for i, each in enumerate(state)]
        return values if kind is list else {_TUPLE: values}
    if kind in _MAPPINGS.values():
        for key in state:
            if type(key) not in (int, str):
                raise _refusal(f"{path}: the key {key!r}", key)
        items = [[key, _split(each, f"{path}/{key}", tensors)] for key, each in state.items()]
        if kind is dict and all(isinstance(key, str) and key[:1] != "$" for key in state):
            return dict(items)
        return {_ITEMS: items, "type": kind.__name__}
    raise _refusal(path, state)


def _refusal(where: str, value: object) -> CheckpointError:
    return CheckpointError(
        f"the state of {where} is a {type(value).__name__}; a checkpoint holds tensors, numbers, "
        "texts, None, and lists, tuples and dicts of them"
    )
