"""Importing flowpolicy beside importing TorchRL, each in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial


def child_seconds() -> float:
    """CPU seconds of all processes that were started here and are over."""
    times = os.times()
    return times.children_user + times.children_system


def test_import(in_turn) -> None:
    """CPU time of a process that does nothing else."""

    def importing(name: str) -> None:
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True)

    names = ("flowpolicy", "torchrl", "torch")
    in_turn(
        {name: partial(importing, name) for name in names},
        timer=child_seconds,
        seconds=30,
        targets={"torchrl": 1.5},
    )
