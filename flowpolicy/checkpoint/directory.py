"""A directory of files that is complete and unchanged, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flowpolicy.checkpoint.migrations import FORMAT_VERSION, migrated
from flowpolicy.durable import STAGING_PREFIX, sync, write_durably
from flowpolicy.errors import CheckpointError

MANIFEST: Final = "manifest.json"


class DamagedCheckpointError(CheckpointError):
    """A checkpoint whose bytes are not those that were written."""


def write_directory(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Writes ``files`` and their manifest as the new directory ``path``, completely or not at all.

    Everything goes to a hidden directory beside ``path`` first; every file and the directory are
    flushed to the disk before the one rename that makes them visible.

    Args:
        path: The directory to make; it must not exist.
        files: Contents by file name.

    Raises:
        CheckpointError: ``path`` exists, or cannot be written, for instance on a full disk.

    Example:
        >>> import tempfile
        >>> path = write_directory(tempfile.mkdtemp() + "/one", {"greeting.txt": b"hello"})
        >>> read_directory(path)["greeting.txt"]
        b'hello'
    """
    path = Path(path)
    if path.exists():
        raise CheckpointError(
            f"checkpoint {path} exists already; a checkpoint is never overwritten, remove it first"
        )
    staging = path.parent / f"{STAGING_PREFIX}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        staging.mkdir(parents=True)
        for name, content in files.items():
            write_durably(staging / name, content)
        write_durably(staging / MANIFEST, _manifest(files))
        sync(staging)
        staging.rename(path)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be written ({error.strerror}); earlier ones are as they "
            "were. Make room, then resume the run"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # it is gone where all went well
    sync(path.parent)
    return path


def read_directory(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Reads every file of a directory made by :func:`write_directory`, each verified.

    Args:
        path: The directory; one of an earlier format is lifted to today's, in memory.

    Raises:
        DamagedCheckpointError: A file is missing, is not listed, or differs from what was written.
        CheckpointError: The directory has a newer format.
    """
    path = Path(path)
    entries, version = _verified_manifest(path)
    # Not those of desktops and network file systems, such as .DS_Store, which nobody reads.
    names = {entry.name for entry in path.iterdir()}
    present = {name for name in names if not name.startswith(".")} - {MANIFEST}
    if surplus := sorted(present - set(entries)):
        raise DamagedCheckpointError(f"checkpoint {path}: {surplus[0]} is not in its manifest")
    files: dict[str, bytes] = {}
    for name, entry in entries.items():
        try:
            content = (path / name).read_bytes()
        except OSError as error:
            raise DamagedCheckpointError(
                f"checkpoint {path}: {name} cannot be read ({error.strerror})"
            ) from error
        if len(content) != entry["size"]:
            raise DamagedCheckpointError(
                f"checkpoint {path}: {name} has {len(content)} bytes, {entry['size']} were written"
            )
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise DamagedCheckpointError(
                f"checkpoint {path}: the content of {name} changed since it was written "
                "(SHA-256 differs)"
            )
        files[name] = content
    return migrated(files, version)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    body = {
        "format_version": FORMAT_VERSION,
        "files": {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        },
    }
    return json.dumps({**body, "digest": _digest(body)}, indent=1).encode()


def _digest(body: Mapping[str, Any]) -> str:
    # A flipped bit in a file name or a size must not pass for another manifest.
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _verified_manifest(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    try:
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise DamagedCheckpointError(
            f"checkpoint {path}: {MANIFEST} cannot be read ({error.strerror})"
        ) from error
    try:
        manifest = json.loads(content)
        digest = manifest.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedCheckpointError(
            f"checkpoint {path}: {MANIFEST} is not a complete manifest"
        ) from error
    # Bytes are compared too: JSON forgives changes such as another space or a repeated key.
    expected = json.dumps({**manifest, "digest": digest}, indent=1).encode()
    if digest != _digest(manifest) or content != expected:
        raise DamagedCheckpointError(
            f"checkpoint {path}: {MANIFEST} changed since it was written (digest differs)"
        )
    files: dict[str, dict[str, Any]] = manifest["files"]
    version: int = manifest["format_version"]
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path}: format version {version} is newer than this flowpolicy, which "
            f"reads up to version {FORMAT_VERSION}; install the flowpolicy that wrote it"
        )
    return files, version
