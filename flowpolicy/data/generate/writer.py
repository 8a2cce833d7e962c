"""Writing files that are either complete or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from flowpolicy.data.generate.columns import Columns


def write_npz(path: Path, columns: Columns) -> Path:
    """Write compressed arrays beside ``path``; the result waits there for its final name.

    Equal arrays give equal bytes: the archive carries no date.
    """
    waiting = path.with_name(f".{path.name}.tmp")
    with waiting.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]  # see save_shard
        _to_disk(file.fileno())
    return waiting


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write JSON beside ``path``; the result waits there for its final name."""
    waiting = path.with_name(f".{path.name}.tmp")
    with waiting.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        _to_disk(file.fileno())
    return waiting


def publish(waiting: Path, path: Path) -> None:
    """Give a finished file its name, in one step, and make the name durable."""
    waiting.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _to_disk(folder)
    finally:
        os.close(folder)


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
