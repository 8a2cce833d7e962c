"""A view of a network that gradient passes through but does not reach."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.func import functional_call

M = TypeVar("M", bound=nn.Module)


class _MethodCall(nn.Module):
    """Lets ``functional_call`` reach any method, not only ``forward``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, *args: Any) -> Any:
        return getattr(self.module, name)(*args)


class _Frozen:
    """See ``frozen``. Not a module, so whoever holds it registers no parameter."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._call = _MethodCall(module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "module" not in self.__dict__:  # half-built, while unpickling
            raise AttributeError(name)
        attribute = getattr(self.module, name)
        return partial(self._frozen_call, name) if inspect.ismethod(attribute) else attribute

    def _frozen_call(self, name: str, *args: Any) -> Any:
        if not torch.is_grad_enabled():  # no gradient reaches anything: skip the detour
            return getattr(self.module, name)(*args)
        detached = {key: value.detach() for key, value in self._call.named_parameters()}
        return functional_call(self._call, detached, (name, *args))

    def __repr__(self) -> str:
        return f"frozen({self.module!r})"


def frozen(module: M) -> M:
    r"""A view of ``module`` with detached parameters; gradient still reaches the inputs.

    .. math:: f_{\mathrm{sg}[\theta]}(x)

    The view follows the live parameters, is not a module itself (whoever holds it registers
    nothing), and has the methods and attributes of the module.

    Args:
        module: a network, an actor, a target network, or a frozen view (returned as it is).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import CriticEnsemble
        >>> critic = CriticEnsemble(3, 2, hidden=(8,))
        >>> action = torch.zeros(1, 2, requires_grad=True)
        >>> frozen(critic).values(torch.zeros(1, 3), action).sum().backward()
        >>> action.grad is not None, all(p.grad is None for p in critic.parameters())
        (True, True)
    """
    return module if isinstance(module, _Frozen) else cast("M", _Frozen(module))


def unfrozen(module: M) -> M:
    """The network behind a frozen view; anything else as it is."""
    return cast("M", module.module) if isinstance(module, _Frozen) else module


def is_frozen(value: object) -> bool:
    """Whether ``value`` is a frozen view."""
    return isinstance(value, _Frozen)
