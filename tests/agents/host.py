"""What a GPU would be waited for, and what it could not work with, found on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

METHODS = {"item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"}
"""Of tensors, each of which brings numbers to the host."""

OPERATIONS = {"local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "unique"}
"""Of ATen, after which the host must know a number: a value or a size."""


class HostReadError(AssertionError):
    """The host reads a number."""


class _Methods(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in METHODS:
            raise HostReadError(f"Tensor.{name} reads from the device.")
        return function(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.strip("_0123456789")
        masks = name in ("index", "index_put") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        if name in OPERATIONS or masks:
            raise HostReadError(f"{func} makes the host wait.")
        return func(*args, **(kwargs or {}))


@contextmanager
def away_from_the_host() -> Iterator[None]:
    """Refuses reads, and every tensor that is made without a word about its device.

    Such a tensor is made without numbers and cannot be put together with others.
    """
    with torch.device("meta"), _Methods(), _Operations():
        yield
