"""Writing files that are either complete or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flowpolicy.data.generate.columns import Columns
from flowpolicy.durable import sync


def write_npz(path: Path, columns: Columns) -> Path:
    """Write compressed arrays beside ``path``; the result waits there for its final name.

    Equal arrays give equal bytes: the archive carries no date.
    """
    waiting = path.with_name(f".{path.name}.tmp")
    with waiting.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]  # see save_shard
    sync(waiting)
    return waiting


def publish(waiting: Path, path: Path) -> None:
    """Give a finished file its name, in one step, and make the name durable."""
    waiting.replace(path)
    sync(path.parent)
