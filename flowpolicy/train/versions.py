"""With what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from flowpolicy.checkpoint.environment import environment


def versions() -> dict[str, Any]:
    """Versions of Python and of the packages that matter, git commit, platform and threads.

    Example:
        >>> versions()["packages"]["torch"] == torch.__version__
        True
    """
    used = environment()
    return {
        "python": used["python"],
        "packages": used["packages"],
        "git": _git(Path(__file__).parent),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": used["threads"],
        "cuda": used["cuda"],
        "command": sys.argv,
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and whether files differ from it; ``None`` outside a repository of this package."""
    try:
        tracked = _run(folder, "ls-files", "--error-unmatch", "versions.py")
        if tracked is None:
            return None  # an installed copy that happens to lie inside somebody's repository
        commit = _run(folder, "rev-parse", "HEAD")
        status = _run(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "dirty": bool(status)} if commit else None


def _run(folder: Path, *arguments: str) -> str | None:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return result.stdout.strip() if result.returncode == 0 else None
