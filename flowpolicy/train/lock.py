"""One writer at a time in the folder of a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import IO, Final

from flowpolicy.errors import ConfigError

try:
    import fcntl
except ImportError:  # pragma: no cover (not on Windows)
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".lock"


def take(file: IO[str]) -> bool:
    """Takes the kernel's lock on an open file, or says that another process has it.

    The lock goes with the file's closing or the process, however it ends, so that no kill leaves
    one behind. Where Python has no ``fcntl`` nothing is locked.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
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
        if not take(file):
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
