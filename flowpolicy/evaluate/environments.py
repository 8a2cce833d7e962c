"""Environments that are made once and reused.

Making one costs from milliseconds to a second, and some simulators lose a file handle each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from flowpolicy.envs import make_gym

Env: TypeAlias = Any
EnvSource: TypeAlias = str | Callable[[], Env]
"""The name of an environment, or a function without arguments that makes a gymnasium one."""

_made: dict[EnvSource, list[Env]] = {}


def environments(source: EnvSource, count: int) -> list[Env]:
    """``count`` environments, those of earlier calls first.

    Args:
        source: Name or function; the same one returns the same environments again.
        count: How many.
    """
    made = _made.setdefault(source, [])
    while len(made) < count:
        made.append(make_gym(source) if isinstance(source, str) else source())
    return made[:count]


def close_environments() -> None:
    """Closes everything that :func:`environments` has made in this process."""
    for made in _made.values():
        for env in made:
            env.close()
    _made.clear()
