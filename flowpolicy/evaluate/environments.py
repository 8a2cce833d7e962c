"""Environments that are made once and reused.

Making one costs from milliseconds to a second, and some simulators lose a file handle each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from flowpolicy.envs import make_gym
from flowpolicy.envs.names import registration

Env: TypeAlias = Any
EnvSource: TypeAlias = str | Callable[[], Env]
"""The name of an environment, or a function without arguments that makes a gymnasium one."""

PARALLEL = 10
"""How many environments step together unless told otherwise."""

_made: dict[EnvSource, list[Env]] = {}
_registered: dict[EnvSource, object] = {}


def environments(source: EnvSource, count: int) -> list[Env]:
    """``count`` environments, those of earlier calls first.

    Args:
        source: Name or function; the same one returns the same environments again.
        count: How many.
    """
    before = _registered.get(source)
    if isinstance(source, str) and source in _made and before is not registration(source):
        for env in _made.pop(source):  # of what the name stood for before
            env.close()
    made = _made.setdefault(source, [])
    while len(made) < count:
        made.append(make_gym(source) if isinstance(source, str) else source())
    if isinstance(source, str):  # after making, which may import what registers it
        _registered[source] = registration(source)
    return made[:count]


@contextmanager
def borrowed(source: EnvSource, count: int) -> Iterator[list[Env]]:
    """``count`` environments for a while; those that a caller's function makes are closed after it.

    Only a name is the same thing at the next call: a function may be a new one each time, and what
    it makes is its caller's.
    """
    if isinstance(source, str):
        yield environments(source, count)
        return
    made: list[Env] = []
    try:
        made.extend(source() for _ in range(count))  # those made before a failure are kept
        yield made
    finally:
        for env in made:
            env.close()


def close_environments() -> None:
    """Closes everything that :func:`environments` has made in this process."""
    for made in _made.values():
        for env in made:
            env.close()
    _made.clear()
    _registered.clear()
