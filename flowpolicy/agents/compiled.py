"""Compiling a method as a program of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

import torch
from torch._inductor import list_mode_options

F = TypeVar("F", bound=Callable[..., Any])

DENSE = {"shape_padding": False, "comprehensive_padding": False}
"""Inductor's options for results without gaps. On a GPU it may pad products of odd widths and give
their gradients out as slices, which fused optimizers refuse."""


def replays_graphs(mode: str | None, options: Mapping[str, Any] | None) -> bool:
    """Whether a program of these options replays CUDA graphs, which write over earlier results."""
    return bool(_all_options(mode, options).get("triton.cudagraphs", False))


def compiled(
    method: F,
    arguments: Sequence[str],
    *,
    backend: str,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> F:
    """A method as one graph, compiled anew only where its arguments differ from those before.

    What the object is made of is looked at while compiling and never again: two thousand guards on
    attributes of modules would cost as much time as a small network's pass.

    Args:
        method: bound to the object whose program it is.
        arguments: the names of its arguments.
        backend: of ``torch.compile``.
        mode: of ``torch.compile``.
        options: of ``torch.compile``.
    """
    function = method.__func__  # type: ignore[attr-defined]
    # A copy of the code: compiled programs hang on it, and without guards on the object one object
    # would get the program of another.
    own = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    own.__kwdefaults__ = function.__kwdefaults__
    argument = re.compile(rf"(L\[')?({'|'.join(arguments)})\b")

    def of_arguments(guards: Sequence[Any]) -> list[bool]:
        return [not guard.name or argument.match(guard.name) is not None for guard in guards]

    layout = DENSE if backend == "inductor" else {}
    program = torch.compile(
        MethodType(own, method.__self__),  # type: ignore[attr-defined]
        fullgraph=True,
        dynamic=False,
        backend=backend,
        options={**layout, **_all_options(mode, options), "guard_filter_fn": of_arguments},
    )
    return cast("F", program)


def _all_options(mode: str | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of the mode, and those given."""
    return {**(list_mode_options(mode) if mode else {}), **(options or {})}
