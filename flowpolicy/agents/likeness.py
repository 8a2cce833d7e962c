"""Whether two objects differ in anything but the values of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowpolicy.modules.frozen import unfrozen

Free = Callable[[Tensor], bool]
"""Whether a tensor may hold what it likes."""


def difference(first: Any, second: Any, path: str, free: Free = lambda _: True) -> str | None:
    """The first place where two objects are not of one make, or ``None``.

    Tensors are alike by shape, dtype and device, whatever they hold where they are free; anything
    else by value, parts by their own parts.

    Args:
        first: an object.
        second: the one to compare.
        path: what they are called.
        free: the tensors of which only shape, dtype and device count.

    Example:
        >>> import flowpolicy as fp
        >>> difference(fp.LinearPath(), fp.LinearPath(), "path") is None
        True
        >>> one, two = (fp.agents.fql(3, 2, hidden=(8,), discount=d) for d in (0.9, 0.99))
        >>> difference(one.loss, two.loss, "loss")
        'loss.losses.0.discount: 0.9 and 0.99'
    """
    return next(_differences(first, second, path, free, set()), None)


def _differences(first: Any, second: Any, path: str, free: Free, seen: set[int]) -> Iterator[str]:
    first, second = unfrozen(first), unfrozen(second)
    if first is second:
        return
    if isinstance(first, nn.Module):  # which may know each other
        if id(first) in seen:
            return
        seen.add(id(first))
    told = [_described(each) for each in (first, second)]
    if told[0] != told[1] and not all(each != each for each in told):  # noqa: PLR0124  (NaN)
        names = [_name(each) for each in told]
        yield f"{path}: {names[0]} and {names[1]}"
        return
    if isinstance(first, Tensor) and not (free(first) and free(second)):
        if not torch.equal(first, second):
            yield f"{path}: {first.detach()} and {second.detach()}"
        return
    for (name, one), (_, other) in zip(_parts(first), _parts(second), strict=True):
        yield from _differences(one, other, f"{path}.{name}", free, seen)


def _described(value: Any) -> Any:
    """What has to be equal of a value itself; its parts are compared one by one."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {value.dtype} {value.device}"
    if isinstance(value, Mapping):
        return list(value)
    if isinstance(value, list | tuple):
        return f"{len(value)} entries"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, FunctionType):  # what the same line made anew is the same
        return value.__code__
    return type(value).__name__ if _has_parts(value) else value


def _name(told: Any) -> Any:
    """How a difference calls what was described."""
    return told.co_qualname if isinstance(told, CodeType) else getattr(told, "__qualname__", told)


def _has_parts(value: Any) -> bool:
    """Whether it is a module, or an object that equals itself alone."""
    if isinstance(value, nn.Module):
        return True
    compares = type(value).__eq__ is not object.__eq__  # type: ignore[comparison-overlap]
    return hasattr(value, "__dict__") and not callable(value) and not compares


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Tensor):
        return []
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, nn.Module):
        return list(_attributes(value).items())
    if isinstance(value, FunctionType):
        closure = [cell.cell_contents for cell in value.__closure__ or ()]
        made = {"defaults": value.__defaults__, "options": value.__kwdefaults__}
        return list({**made, "closure": closure}.items())
    return list(vars(value).items()) if _has_parts(value) else []


_BOOKKEEPING = frozenset(vars(nn.Module())) | {"_forward_hooks", "_forward_pre_hooks"}


def _attributes(module: nn.Module) -> dict[str, Any]:
    """A module's attributes with its submodules and tensors among them, as they are asked for."""
    named = {**module._parameters, **module._buffers, **module._modules}  # noqa: SLF001
    return {**{k: v for k, v in vars(module).items() if k not in _BOOKKEEPING}, **named}
