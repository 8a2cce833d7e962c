"""What a process does once the one that started it is gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process

PERIOD = 1.0
"""Seconds between two looks at whose child this process is."""


def when_parent_ends(act: Callable[[], object]) -> None:
    """Calls ``act`` in a thread of its own when the parent has ended, also if it was killed.

    A parent that is killed outright ends none of its processes, and nobody would hear of them. In a
    process that ``multiprocessing`` did not start nothing happens.

    Args:
        act: Ends this process, for instance.

    Example:
        >>> when_parent_ends(lambda: None)
    """
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        act()

    threading.Thread(target=watch, daemon=True).start()


def when_launcher_ends(act: Callable[[], object]) -> None:
    """As :func:`when_parent_ends`, in a process that any other program started.

    Args:
        act: Ends this process, for instance.

    Example:
        >>> when_launcher_ends(lambda: None)
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(PERIOD)
        act()

    threading.Thread(target=watch, daemon=True).start()
