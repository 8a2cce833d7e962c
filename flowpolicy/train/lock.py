"""One writer at a time in the folder of a run."""

from __future__ import annotations

import errno
import os
import platform
import warnings
from pathlib import Path
from typing import IO, Final

from flowpolicy.errors import ConfigError

try:
    import fcntl
except ImportError:  # pragma: no cover (not on Windows)
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".lock"
NO_LOCKS: Final = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""Errors of file systems that are mounted without locks, as Lustre or NFS may be."""


def take(file: IO[str]) -> bool:
    """Takes the kernel's lock on an open file, or says that another process has it.

    The lock goes with the file's closing or the process, however it ends, so that no kill leaves
    one behind. Where Python has no ``fcntl`` or the file system no locks nothing is locked.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"{file.name}: this file system has no locks ({error.strerror}), so that two processes "
            "could write in one run folder; start no second one",
            stacklevel=3,
        )
    return True


class WriterLock:
    """Keeps the folder of a run for this process until it is released or the process ends.

    The file in the folder only says whose the lock is.

    Args:
        folder: The folder; it must be there.

    Raises:
        ConfigError: Another process has it; the message names that process.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> lock = WriterLock(folder)
        >>> WriterLock(folder)
        Traceback (most recent call last):
        flowpolicy.errors.ConfigError: run folder ... is being written by process ...
        >>> lock.release()
    """

    def __init__(self, folder: Path) -> None:
        file = (folder / LOCK).open("a+", encoding="utf-8")
        try:
            is_free = take(file)
        except OSError:
            file.close()
            raise
        if not is_free:
            file.seek(0)
            holder = file.read().strip() or "of unknown number"
            file.close()
            raise ConfigError(
                f"run folder {folder} is being written by process {holder}; wait for its end, or "
                "stop it"
            )
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}\n")
        file.flush()
        self._file: IO[str] | None = file

    def release(self) -> None:
        """Lets others write; the file stays, since whoever waits may have opened it."""
        if self._file is not None:
            self._file.close()
            self._file = None
