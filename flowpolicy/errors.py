"""Exceptions: each says which object, what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

import torch

NAMES_SHOWN = 12
CASTS = {torch.float32: ".float()", torch.float64: ".double()", torch.float16: ".half()"}


class FlowPolicyError(Exception):
    """Base of every error that flowpolicy raises on purpose."""


class ShapeError(FlowPolicyError, ValueError):
    """A tensor has another shape than its place in an equation asks for."""


class DtypeError(FlowPolicyError, TypeError):
    """An input is no tensor, or a tensor of another dtype than the parameters that it meets."""


class MissingKeyError(FlowPolicyError, KeyError):
    """A batch lacks an entry that a loss, an actor or a weight reads."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class DataError(FlowPolicyError, ValueError):
    """A data set or one of its files cannot be used as it is."""


class ConfigError(FlowPolicyError, ValueError):
    """An argument or option has a value that cannot work."""


class CheckpointError(FlowPolicyError, RuntimeError):
    """A checkpoint is damaged, incomplete, or belongs to something else."""


class DistributedError(FlowPolicyError, RuntimeError):
    """The processes that learn together do not hold the same, or are not used together."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not in a registry, with the nearest ones that are.

    Example:
        >>> print(unknown_name("agent", "fgl", ["fql", "gfp", "ifql"]))
        unknown agent 'fgl'; did you mean 'fql', 'ifql'? One other is known.
        >>> print(unknown_name("agent", "sac", ["fql", "gfp", "ifql"]))
        unknown agent 'sac'. Known: fql, gfp, ifql
    """
    known = sorted(known)
    folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
    near = [folded[each] for each in close]
    if near:
        others = len(known) - len(near)
        count = {0: "", 1: " One other is known."}.get(others, f" {others} others are known.")
        return ConfigError(
            f"unknown {kind} {name!r}; did you mean {', '.join(map(repr, near))}?{count}"
        )
    rest = len(known) - NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ConfigError(
        f"unknown {kind} {name!r}. Known: {', '.join(known[:NAMES_SHOWN]) or 'none'}{more}"
    )


def refuse_unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are not in a registry.

    Example:
        >>> refuse_unknown("agent", ["fql", "gfp"], ["fql", "gfp", "ifql"])
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)


def require_tensor(owner: str, name: str, value: object) -> None:
    """Refuse what is not a tensor, such as a NumPy array.

    Example:
        >>> require_tensor("Actor", "observation", [0.0])
        Traceback (most recent call last):
        flowpolicy.errors.DtypeError: Actor: 'observation' must be a torch.Tensor, got list; ...
    """
    if not isinstance(value, torch.Tensor):
        several = isinstance(value, Mapping)
        advice = "join its entries, torch.cat(..., dim=-1)" if several else "use torch.as_tensor"
        raise DtypeError(
            f"{owner}: {_shown(name)} must be a torch.Tensor, got {type(value).__name__}; {advice}."
        )


def require_last_dim(owner: str, name: str, tensor: torch.Tensor, expected: int) -> None:
    """Refuse what is not a tensor, or one whose last dimension is not ``expected``.

    Shapes are Python numbers, so this costs nothing inside a compiled graph.
    """
    require_tensor(owner, name, tensor)
    if tensor.ndim == 0 or tensor.shape[-1] != expected:
        advice = (
            "Per-sample scalars are [*B, 1]: add the last dimension with unsqueeze(-1)."
            if expected == 1
            else f"Reshape it, or build {owner} for this size."
        )
        raise ShapeError(
            f"{owner}: {_shown(name)} must be [*B, {expected}], got {list(tensor.shape)}. {advice}"
        )


def require_dtype(owner: str, name: str, tensor: torch.Tensor, like: torch.Tensor) -> None:
    """Refuse a tensor of another dtype than the parameter ``like``, save under autocast.

    A dtype is a Python object, so this costs nothing inside a compiled graph.
    """
    if tensor.dtype != like.dtype and not torch.is_autocast_enabled(tensor.device.type):
        agent = f", or the agent with {_cast(tensor)}" if tensor.is_floating_point() else ""
        raise DtypeError(
            f"{owner}: {_shown(name)} is {_dtype(tensor)} but the parameters are {_dtype(like)}; "
            f"cast it with {_cast(like)}{agent}."
        )


def require_floating(owner: str, name: str, tensor: torch.Tensor) -> None:
    """Refuse whole numbers where noise of the same dtype is to be drawn."""
    if not tensor.is_floating_point():
        raise DtypeError(
            f"{owner}: {_shown(name)} must be of a floating dtype, got {_dtype(tensor)}; "
            "cast it with .float()."
        )


def require_input(
    owner: str, name: str, tensor: torch.Tensor, expected: int, like: torch.Tensor
) -> None:
    """Refuse an input that a network with the parameter ``like`` cannot take.

    Example:
        >>> weight = torch.zeros(2, 3)
        >>> require_input("Actor", "observation", torch.zeros(4, 3).double(), 3, weight)
        Traceback (most recent call last):
        flowpolicy.errors.DtypeError: Actor: 'observation' is float64 but the parameters are ...
    """
    require_last_dim(owner, name, tensor, expected)
    require_dtype(owner, name, tensor, like)


def require_same_batch(
    owner: str, first_name: str, first: torch.Tensor, name: str, tensor: torch.Tensor
) -> None:
    """Refuse two per-sample tensors whose batch shapes differ, before they broadcast in silence."""
    if first.shape[:-1] != tensor.shape[:-1]:
        raise ShapeError(
            f"{owner}: {_shown(first_name)} has batch shape {list(first.shape[:-1])} but "
            f"{_shown(name)} has {list(tensor.shape[:-1])} (full shape {list(tensor.shape)}). "
            "Per-sample scalars are [*B, 1]: add the last dimension with unsqueeze(-1)."
        )


def require_positive(owner: str, name: str, value: float) -> float:
    """Refuse a number that is not finite and above zero."""
    if not 0 < value < float("inf"):
        raise ConfigError(f"{owner}: {name} must be a finite number above 0, got {value!r}.")
    return value


def require_not_negative(owner: str, name: str, value: float, advice: str = "") -> float:
    """Refuse a number that is not finite or below zero.

    Example:
        >>> require_not_negative("EditActor", "scale", -1.0)
        Traceback (most recent call last):
        flowpolicy.errors.ConfigError: EditActor: scale must be finite and at least 0, got -1.0.
    """
    if not 0 <= value < float("inf"):
        told = f" {advice}" if advice else ""
        raise ConfigError(f"{owner}: {name} must be finite and at least 0, got {value!r}.{told}")
    return value


def require_at_least(owner: str, name: str, value: int, minimum: int) -> int:
    """Refuse what is not a whole number, or one below ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(
            f"{owner}: {name} must be a whole number of at least {minimum}, got {value!r}."
        )
    if value < minimum:
        raise ConfigError(f"{owner}: {name} must be at least {minimum}, got {value!r}.")
    return int(value)


def require_obs_dim(owner: str, obs_dim: int) -> int:
    """Refuse an observation that is no vector, such as an image.

    Example:
        >>> require_obs_dim("ValueNetwork", (64, 64, 3))
        Traceback (most recent call last):
        flowpolicy.errors.ConfigError: ValueNetwork: obs_dim must be the width of a vector, got ...
    """
    if isinstance(obs_dim, Sequence) and not isinstance(obs_dim, str):
        raise ConfigError(
            f"{owner}: obs_dim must be the width of a vector, got {tuple(obs_dim)}. Images need an "
            "encoder, which this library does not have: encode them to vectors first."
        )
    return require_at_least(owner, "obs_dim", obs_dim, 1)


def require_hidden(owner: str, hidden: Sequence[int]) -> tuple[int, ...]:
    """Refuse hidden sizes that are not a sequence of whole numbers of at least 1.

    Example:
        >>> require_hidden("ValueNetwork", [256, 256])
        (256, 256)
        >>> require_hidden("ValueNetwork", 256)
        Traceback (most recent call last):
        flowpolicy.errors.ConfigError: ValueNetwork: hidden must be a sequence of sizes such as ...
    """
    if isinstance(hidden, str | bytes) or not isinstance(hidden, Sequence):
        raise ConfigError(
            f"{owner}: hidden must be a sequence of sizes such as (256, 256), got {hidden!r}."
        )
    return tuple(require_at_least(owner, "hidden size", size, 1) for size in hidden)


def require_instance(
    owner: str, name: str, value: object, kinds: type | tuple[type, ...], hint: str
) -> None:
    """Refuse an argument of another kind, and say what to pass.

    Example:
        >>> require_instance("Loss", "actor", 64, torch.nn.Module, "Pass a network.")
        Traceback (most recent call last):
        flowpolicy.errors.ConfigError: Loss: actor must be a Module, got 64. Pass a network.
    """
    if not isinstance(value, kinds):
        names = [kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
        article = "an" if names[0][0] in "AEIOU" else "a"
        raise ConfigError(
            f"{owner}: {name} must be {article} {' or '.join(names)}, got {_described(value)}. "
            f"{hint}"
        )


def require_sizes_match(owner: str, **parts: object) -> None:
    """Refuse parts that are built for different observations or actions.

    Parts are compared by those of ``obs_dim`` and ``act_dim`` that they have.
    """
    sizes = {
        name: {size: getattr(part, size) for size in ("obs_dim", "act_dim") if hasattr(part, size)}
        for name, part in parts.items()
    }
    for size in ("obs_dim", "act_dim"):
        if len({of[size] for of in sizes.values() if size in of}) > 1:
            told = "; ".join(
                f"{name} {', '.join(f'{key}={value}' for key, value in of.items())}"
                for name, of in sizes.items()
                if of
            )
            raise ConfigError(
                f"{owner}: the parts are built for different sizes: {told}. "
                "Build all for the same observations and actions."
            )


def require_installed(owner: str, package: str, extra: str) -> None:
    """Refuse to go on without an optional package, and say how it is installed.

    Example:
        >>> require_installed("make_gym", "torch", extra="ogbench")
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{owner} needs the package {package!r}, which is not installed: "
            f"pip install 'flowpolicy[{extra}]'."
        )


def _shown(name: object) -> str:
    """A key as it is written in code; also where a nested one was made a string before."""
    return name if isinstance(name, str) and name.startswith("(") else repr(name)


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    return type(value).__name__


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _cast(like: torch.Tensor) -> str:
    return CASTS.get(like.dtype, f".to({like.dtype})")
