"""Files that are complete on the disk or absent, and what killed writers leave behind."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

STAGING_PREFIX: Final = ".tmp-"


def write_durably(path: Path, content: bytes) -> None:
    """Writes a file and flushes it to the disk."""
    path.write_bytes(content)
    sync(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that has its old content until the new one is on the disk.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(path) as staging:
        ...     _ = staging.write_text("new")
        >>> path.read_text(), [entry.name for entry in path.parent.iterdir()]
        ('new', ['a.txt'])
    """
    # A name of its own: several processes may write the same file.
    staging = path.with_name(f"{STAGING_PREFIX}{path.name}-{secrets.token_hex(4)}")
    try:
        yield staging
        sync(staging)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)  # it is gone where all went well
    sync(path.parent)


def replace_durably(path: Path, content: bytes) -> Path:
    """Writes a file that has its old content until the new one is on the disk.

    Example:
        >>> import tempfile
        >>> replace_durably(Path(tempfile.mkdtemp()) / "a.txt", b"new").read_bytes()
        b'new'
    """
    with replacing(path) as staging:
        staging.write_bytes(content)
    return path


def sync(path: Path) -> None:
    """Makes what a file holds, or the names inside a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def collect_leftovers(folder: Path) -> None:
    """Removes what writers that were killed had begun; only for who alone writes there."""
    for entry in folder.glob(f"{STAGING_PREFIX}*"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
