"""What holds for every test and doctest: one thread, no display, fixed seeds, no network."""

from __future__ import annotations

import os

# Read once, when the libraries are first imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("MUJOCO_GL", "disable")  # without it dm_control looks for a display

import ipaddress
import random
import signal
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

torch.set_num_threads(1)
# A shell that starts the tests in the background lets them, and all their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test and every doctest starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the libraries below may still use the global one)
    torch.manual_seed(0)


def _is_local(host: object) -> bool:
    """Whether an address as given to a socket stays on this machine."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in {None, "", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Connections to other machines and questions for their addresses are refused."""

    def guard(call: Callable[..., Any], host_of: Callable[..., object]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            host = host_of(*args, **kwargs)
            if not _is_local(host):
                msg = f"a test asked the network for {host!r}: tests use local files and loopback"
                raise RuntimeError(msg)
            return call(*args, **kwargs)

        return guarded

    def peer(_: socket.socket, address: Any) -> object:
        return address[0] if isinstance(address, tuple) else None  # a path: a local socket

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guard(socket.socket.connect, peer))
        patch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex, peer))
        patch.setattr(socket, "getaddrinfo", guard(socket.getaddrinfo, lambda host, *_, **__: host))
        yield


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    """Doctests may use `torch` and `fp` without importing them."""
    import flowpolicy

    doctest_namespace.update(torch=torch, fp=flowpolicy)
