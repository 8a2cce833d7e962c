"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> float:
    """Cores of this process: its affinity, and what a container grants.

    Example:
        >>> cores() > 0
        True
    """
    usable = getattr(os, "sched_getaffinity", None)
    present = float(len(usable(0)) if usable else os.cpu_count() or 1)
    try:
        granted, period = QUOTA.read_text().split()
        return min(present, int(granted) / int(period))
    except (OSError, ValueError):
        return present
