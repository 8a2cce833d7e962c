"""What becomes of the memory that an update frees."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings, ``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD``."""

KEPT: Final = 2**30
"""Bytes that may stay free at the end of the heap; more than an update frees."""

BLOCK: Final = 2**25
"""Bytes of the largest block that comes from the heap at all; glibc allows no more."""


def keep_freed_memory() -> bool:
    """Has the C library keep what is freed for the next update; on the CPU, with glibc.

    An update frees what it computed. By default glibc gives it back to the system, which hands it
    out again page by page in the next update: some percent of its time (``docs/performance.md``).
    It holds for the whole process, from now on, and costs memory only where a process frees much
    and never needs it again. ``flowpolicy train`` and :func:`flowpolicy.train.train` call it; for a
    loop of your own call it once at the start.

    Returns:
        Whether it did so: ``False`` where the C library is another.

    Example:
        >>> import flowpolicy as fp
        >>> kept = fp.keep_freed_memory()
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Both: given one of them, glibc no longer adapts the other.
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, BLOCK))
