"""A step that is taken only where its gradient is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Condition = Callable[[Tensor, "Step"], Tensor | None]
"""``(norm, step) -> skipped``: takes the step where the norm is finite and leaves every bit as it
was where it is not; ``None`` where the host knows that nothing was skipped."""

States = Mapping[Tensor, Mapping[str, Any]]
"""What an optimizer holds for each parameter."""


class Step(NamedTuple):
    """A step of one agent or of several, and what it changes.

    Attributes:
        take: what there is to do.
        optimizer: whose parameters and state it changes.
        targets: the target networks' tensors that it changes.
        apart: takes the guarded step of each of several agents on its own.
    """

    take: Callable[[], None]
    optimizer: torch.optim.Optimizer
    targets: Callable[[], list[Tensor]]
    apart: Callable[[], None] | None = None


def on_host(norm: Tensor, step: Step) -> Tensor | None:
    """Reads the norm and takes the step or does not; on a GPU this waits for the device.

    Args:
        norm: of the gradients, ``[]``, or ``[S]`` of several agents.
        step: what to do.
    """
    norms: list[float] = norm.tolist() if norm.ndim else [norm.item()]
    finite = [math.isfinite(each) for each in norms]
    if all(finite):
        step.take()
        return None
    if any(finite) and step.apart is not None:
        step.apart()
    return ~norm.isfinite()


def on_device(norm: Tensor, step: Step) -> Tensor:
    """Takes the step and puts back what it changed where the norm is not finite.

    Nothing is read but in the first step of a parameter, in which the optimizer makes its state.

    Args:
        norm: of the gradients, ``[]``, or ``[S]`` of several agents.
        step: what to do and to take back.
    """
    finite = norm.isfinite()
    optimizer = step.optimizer
    if norm.is_cuda:
        count_beside(optimizer)
    moved = [p.detach() for group in optimizer.param_groups for p in group["params"]]
    moved += step.targets()
    copies = [tensor.clone() for tensor in moved]
    known = {parameter: dict(state) for parameter, state in optimizer.state.items()}
    copied = {(p, key): value.clone() for p, key, value in _tensors(known)}
    step.take()
    if _is_new(optimizer.state, known) and not finite.any():
        optimizer.state.clear()
        optimizer.state.update(known)
    for tensor, copy in zip(moved, copies, strict=True):
        tensor.copy_(_where(finite, tensor, copy))
    for parameter, key, value in _tensors(optimizer.state):
        copy = copied.get((parameter, key), torch.zeros_like(value))
        value.copy_(_where(finite, value, copy))
    return ~finite


def by_device(norm: Tensor, step: Step) -> Tensor | None:
    """On the host where nothing has to be waited for, else on the device."""
    return (on_host if norm.device.type == "cpu" else on_device)(norm, step)


def count_beside(optimizer: torch.optim.Optimizer) -> None:
    """Lets an optimizer keep its counters where the parameters are.

    On a GPU a step can then be taken back without waiting for it. Adam and its kin call this
    ``capturable``, and refuse it on the CPU; an optimizer that has no such option stays as it is.

    Args:
        optimizer: before the first step, or after its parameters have moved.
    """
    for group in optimizer.param_groups:
        on_gpu = group["params"][0].is_cuda
        if group.get("capturable", on_gpu) == on_gpu or group.get("fused"):
            continue
        group["capturable"] = on_gpu
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = value.to(parameter.device)


def _where(finite: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Along the first dimension of what several agents have; what they share moves with any."""
    if after.ndim < finite.ndim:
        told = finite.any()
    else:
        told = finite.reshape(finite.shape + (1,) * (after.ndim - finite.ndim))
    return torch.where(told.to(after.device), after, before)


def _tensors(states: States) -> Iterator[tuple[Tensor, str, Tensor]]:
    for parameter, state in states.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                yield parameter, key, value


def _is_new(after: States, before: States) -> bool:
    """Whether the optimizer holds more than tensors that it held before."""
    for parameter, state in after.items():
        for key, value in state.items():
            old = before.get(parameter, {}).get(key)
            if isinstance(value, Tensor):
                if not isinstance(old, Tensor):
                    return True
            elif value != old:
                return True
    return False
