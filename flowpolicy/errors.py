"""Exceptions: each says which object, what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable

import torch


class FlowPolicyError(Exception):
    """Base of every error that flowpolicy raises on purpose."""


class ShapeError(FlowPolicyError, ValueError):
    """A tensor has another shape than its place in an equation asks for."""


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


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not in a registry, with the nearest ones that are.

    Example:
        >>> print(unknown_name("agent", "fgl", ["fql", "gfp", "ifql"]))
        unknown agent 'fgl'; did you mean 'fql', 'ifql'? Known: fql, gfp, ifql
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else "."
    return ConfigError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")


def require_last_dim(owner: str, name: str, tensor: torch.Tensor, expected: int) -> None:
    """Refuse a tensor whose last dimension is not ``expected``.

    Shapes are Python numbers, so this costs nothing inside a compiled graph.
    """
    if tensor.ndim == 0 or tensor.shape[-1] != expected:
        raise ShapeError(
            f"{owner}: {name!r} must be [*B, {expected}], got {list(tensor.shape)}. "
            f"Reshape it, or build {owner} for this size."
        )


def require_same_batch(
    owner: str, first_name: str, first: torch.Tensor, name: str, tensor: torch.Tensor
) -> None:
    """Refuse two per-sample tensors whose batch shapes differ, before they broadcast in silence."""
    if first.shape[:-1] != tensor.shape[:-1]:
        raise ShapeError(
            f"{owner}: {first_name!r} has batch shape {list(first.shape[:-1])} but {name!r} has "
            f"{list(tensor.shape[:-1])} (full shape {list(tensor.shape)}). "
            "Per-sample scalars are [*B, 1]: add the last dimension with unsqueeze(-1)."
        )


def require_positive(owner: str, name: str, value: float) -> float:
    """Refuse a number that is not finite and above zero."""
    if not 0 < value < float("inf"):
        raise ConfigError(f"{owner}: {name} must be a finite number above 0, got {value!r}.")
    return value


def require_at_least(owner: str, name: str, value: int, minimum: int) -> int:
    """Refuse a whole number below ``minimum``."""
    if value < minimum:
        raise ConfigError(f"{owner}: {name} must be at least {minimum}, got {value!r}.")
    return value


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
