"""A step that is taken only where its gradient is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowpolicy.modules.target_network import TargetNetwork

Condition = Callable[[Tensor, "Step"], Tensor | None]
"""``(norm, step) -> skipped``: takes the step where the norm is finite and leaves every bit as it
was where it is not; ``None`` where the host knows that nothing was skipped."""

States = Mapping[Tensor, Mapping[str, Any]]
"""What an optimizer holds for each parameter."""


class Step(NamedTuple):
    """A step of one agent or of several, in its parts, and what it changes.

    Attributes:
        clip: shortens the gradients where they are too long.
        optimizers: whose parameters and state it changes: one, or each agent's own.
        before: the target networks that move towards the parameters of before.
        after: those that move towards the new ones.
        move: moves some of them.
        tensors: those of a target network that it changes.
        apart: takes the guarded step of each of several agents on its own.
    """

    clip: Callable[[], None]
    optimizers: Sequence[torch.optim.Optimizer]
    before: Sequence[TargetNetwork]
    after: Sequence[TargetNetwork]
    move: Callable[[Sequence[TargetNetwork]], None]
    tensors: Callable[[TargetNetwork], Iterable[Tensor]]
    apart: Callable[[], None] | None = None

    def take(self) -> None:
        """Everything, in the order of an update."""
        self.clip()
        self.move(self.before)
        for optimizer in self.optimizers:
            optimizer.step()
        self.move(self.after)

    def targets(self) -> list[Tensor]:
        """The target networks' tensors that it changes."""
        return [each for target in (*self.before, *self.after) for each in self.tensors(target)]


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
    each_leaves_out = len(step.optimizers) == norm.numel() and all(map(leaves_out, step.optimizers))
    if step.apart is not None and len(step.optimizers) > 1 and not each_leaves_out:
        step.apart()
        return ~finite
    if norm.is_cuda:
        for optimizer in step.optimizers:
            count_beside(optimizer)
    targets = step.targets()
    copies = _copies(targets)
    if each_leaves_out:
        _take_or_leave_out(step, finite)
    else:
        _take_and_put_back(step, finite)
    _put_back(finite, targets, copies)
    return ~finite


def leaves_out(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its kernels leave everything as it was where ``found_inf`` is not 0.

    That is how ``torch.amp.GradScaler`` has a fused optimizer skip a step.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and isinstance(optimizer, torch.optim.Adam)


def _take_or_leave_out(step: Step, finite: Tensor) -> None:
    """Takes the step; each optimizer's kernels leave its own out where that is not finite."""
    known = [len(optimizer.state) for optimizer in step.optimizers]
    found = (~finite).float().reshape(-1)
    for optimizer, bad in zip(step.optimizers, found, strict=True):
        optimizer.__dict__["found_inf"] = bad
    try:
        step.take()
    finally:
        for optimizer in step.optimizers:
            del optimizer.__dict__["found_inf"]
    for optimizer, count, bad in zip(step.optimizers, known, found, strict=True):
        if len(optimizer.state) > count and bad:
            for parameter in list(optimizer.state)[count:]:
                del optimizer.state[parameter]


def _take_and_put_back(step: Step, finite: Tensor) -> None:
    """Takes the step; parameters and optimizer state are as before where it is not finite."""
    (optimizer,) = step.optimizers
    moved = [p.detach() for group in optimizer.param_groups for p in group["params"]]
    known = {parameter: dict(state) for parameter, state in optimizer.state.items()}
    held = {(parameter, key): value for parameter, key, value in _tensors(known)}
    copies, copied = _copies(moved), dict(zip(held, _copies(list(held.values())), strict=True))
    step.take()
    if _is_new(optimizer.state, known) and not finite.any():
        optimizer.state.clear()
        optimizer.state.update(known)
    _put_back(finite, moved, copies)
    for parameter, key, value in _tensors(optimizer.state):
        copy = copied.get((parameter, key))
        _put_back(finite, [value], [torch.zeros_like(value) if copy is None else copy])


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
        if on_gpu:  # a copy of an optimizer would warn that its steps are not captured
            optimizer.__dict__["_warned_capturable_if_run_uncaptured"] = True
        if group.get("capturable", on_gpu) == on_gpu:
            continue
        group["capturable"] = on_gpu
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = value.to(parameter.device)


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    copies = [torch.empty_like(tensor) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, tensors)
    return copies


def _put_back(finite: Tensor, after: list[Tensor], before: list[Tensor]) -> None:
    """Along the first dimension of what several agents have; what they share moves with any."""
    for tensor, copy in zip(after, before, strict=True):
        if tensor.ndim < finite.ndim:
            told = finite.any()
        else:
            told = finite.reshape(finite.shape + (1,) * (tensor.ndim - finite.ndim))
        torch.where(told.to(tensor.device), tensor, copy, out=tensor)


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
