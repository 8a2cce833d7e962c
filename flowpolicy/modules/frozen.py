"""A view of a network that gradient passes through but does not reach."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.func import functional_call

from flowpolicy.errors import ConfigError

M = TypeVar("M")


class _MethodCall(nn.Module):
    """Lets ``functional_call`` reach any method, not only ``forward``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.module, name)(*args, **kwargs)


class _Frozen:
    """See ``frozen``. Not a module, so whoever holds it registers no parameter."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._call = _MethodCall(module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "module" not in self.__dict__:  # half-built, while unpickling
            raise AttributeError(name)
        attribute = getattr(self.module, name)
        if isinstance(attribute, nn.Module):
            return _Frozen(attribute)
        method = inspect.isfunction(getattr(type(self.module), name, None))
        if method or inspect.ismethod(attribute):  # also one that was replaced, as by compiling
            return partial(self._frozen_call, name)
        return attribute

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._frozen_call("__call__", *args, **kwargs)

    def _frozen_call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():  # no gradient reaches anything: skip the detour
            return getattr(self.module, name)(*args, **kwargs)
        # Each place once: one that stood under two names would be put back as it was replaced.
        detached = {
            f"{prefix}.{key}": value.detach()
            for prefix, part in self._call.named_modules()
            for key, value in part._parameters.items()  # noqa: SLF001
            if value is not None
        }
        return functional_call(self._call, detached, (name, *args), kwargs, tie_weights=False)

    def __repr__(self) -> str:
        return f"frozen({self.module!r})"


def frozen(module: M) -> M:
    r"""A view of ``module`` with detached parameters; gradient still reaches the inputs.

    .. math:: f_{\mathrm{sg}[\theta]}(x)

    The view follows the live parameters, is not a module itself (whoever holds it registers
    nothing), and is called and asked like the module: its methods, and its submodules as frozen
    views. A parameter asked for by name is the live one.

    Args:
        module: a network, an actor, a target network, or a frozen view (returned as it is).

    Raises:
        ConfigError: something that is no ``torch.nn.Module``.

    Example:
        >>> import torch
        >>> from flowpolicy.modules import CriticEnsemble
        >>> critic = CriticEnsemble(3, 2, hidden=(8,))
        >>> action = torch.zeros(1, 2, requires_grad=True)
        >>> frozen(critic).values(torch.zeros(1, 3), action).sum().backward()
        >>> action.grad is not None, all(p.grad is None for p in critic.parameters())
        (True, True)
    """
    if isinstance(module, _Frozen):
        return cast("M", module)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"frozen: expected a network, got {type(module).__name__}.")
    return cast("M", _Frozen(module))


def unfrozen(module: M) -> M:
    """The network behind a frozen view; anything else as it is."""
    return cast("M", module.module) if isinstance(module, _Frozen) else module


def is_frozen(value: object) -> bool:
    """Whether ``value`` is a frozen view."""
    return isinstance(value, _Frozen)
