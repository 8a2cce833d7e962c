"""A kill that comes on time, whatever the process is doing."""

from __future__ import annotations

import ctypes
import signal
import time

SIGEV_SIGNAL = 0


class _Event(ctypes.Structure):
    """``struct sigevent``, 64 bytes on Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Times(ctypes.Structure):
    """``struct itimerspec``: what repeats, and the first time."""

    _fields_ = (("every", ctypes.c_long * 2), ("first", ctypes.c_long * 2))


def kill_me_after(seconds: float) -> None:
    """Has the kernel send SIGKILL to this process: a parent on a busy machine would come too late.

    Args:
        seconds: From now.
    """
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    event = _Event(signo=signal.SIGKILL, notify=SIGEV_SIGNAL)
    whole, part = divmod(max(int(seconds * 1e9), 1), 10**9)
    times = _Times(first=(whole, part))
    if libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "timer_create")
    if libc.timer_settime(timer, 0, ctypes.byref(times), None):
        raise OSError(ctypes.get_errno(), "timer_settime")
