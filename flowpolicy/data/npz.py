"""Reading ``.npz`` files that somebody else wrote: nothing is unpickled, nothing is believed."""

from __future__ import annotations

import hashlib
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from flowpolicy.errors import DataError

#: Deflate cannot shrink by more than this; a larger claim is no honest file.
MOST_COMPRESSION = 1100
#: What zipfile, its decompressors and numpy raise at content that is not what it should be.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # encrypted, or (NotImplementedError) an unknown compression
    ValueError,
)
#: What numpy raises at a header, which it reads as a Python literal and as the name of a dtype.
UNREADABLE_HEADER = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    OverflowError,
    RecursionError,
    MemoryError,
)
#: The kinds of dtypes that count, measure or say yes and no.
NUMBERS = "biufc"
REMEDY = "Delete the file and download or generate it again."


def read_npz(
    path: Path,
    required: Sequence[str] | None,
    optional: Sequence[str] = (),
    *,
    texts: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """The named arrays of a file.

    Args:
        path: the file.
        required: names of arrays that it must hold; ``None`` reads all that it holds.
        optional: names of arrays that are read where they are there.
        texts: names of arrays that hold text in place of numbers.

    Raises:
        DataError: the file is not there, not an npz, damaged, lacks a required array, holds
            objects, or claims more data than it can contain.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            required = list(members) if required is None else required
            missing = [key for key in required if key not in members]
            if missing:
                raise DataError(
                    f"{path}: no {missing[0]!r}; the file holds {', '.join(sorted(members))}. "
                    f"A data set of OGBench has {', '.join(required)}. Check that this is one."
                )
            wanted = [*required, *(key for key in optional if key in members)]
            return {
                key: read_member(path, archive, members[key], key, "U" if key in texts else NUMBERS)
                for key in wanted
            }
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not an .npz file.") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read by this user.") from None
    except DAMAGE as error:
        raise DataError(explain(path, error)) from error


def read_member(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, key: str, kinds: str = NUMBERS
) -> np.ndarray:
    """One array, after its header has been compared with the size of the file."""
    if member.header_offset + member.compress_size > path.stat().st_size:
        raise DataError(
            f"{path}: {key} claims {member.compress_size:,} compressed bytes, more than the file "
            f"has. {REMEDY}"
        )
    if member.file_size > MOST_COMPRESSION * max(member.compress_size, 1):
        raise DataError(
            f"{path}: {key} claims {member.file_size:,} bytes, more than "
            f"{member.compress_size:,} compressed bytes can hold. {REMEDY}"
        )
    with archive.open(member) as stream:
        shape, dtype = read_header(path, stream, key, kinds)
        claimed = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
        present = member.file_size - stream.tell()
        if claimed != present:
            raise DataError(
                f"{path}: {key} claims shape {list(shape)} of {dtype} ({claimed:,} bytes) "
                f"but the file holds {present:,} bytes for it. {REMEDY}"
            )
    with archive.open(member) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def read_header(
    path: Path, stream: IO[bytes], key: str, kinds: str
) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of the array that follows; leaves the stream at its first byte."""
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
    except UNREADABLE_HEADER as error:
        raise DataError(f"{path}: {key} has a damaged header ({error}). {REMEDY}") from error
    if dtype.hasobject or dtype.kind not in kinds:
        wanted = "numbers" if kinds == NUMBERS else "text"
        raise DataError(
            f"{path}: {key} has dtype {dtype}; an array of {wanted} is needed. "
            "Arrays of objects run code when they are read, so they are never opened: write the "
            "file again with plain numbers."
        )
    return shape, dtype


def explain(path: Path, error: Exception) -> str:
    """What is wrong with a file that is no readable archive, judged by how it begins."""
    with path.open("rb") as file:
        start = file.read(48)
    if not start:
        return f"{path}: the file is empty. {REMEDY}"
    if start.startswith(b"PK"):
        return f"{path}: the .npz file is damaged or cut off ({error}). {REMEDY}"
    if start.startswith(b"\x93NUMPY"):
        return f"{path}: this is a single array (.npy); an .npz file with named arrays is needed."
    shown = start.decode("ascii", errors="replace").strip()
    hint = " It looks like a web page: the download failed." if shown.startswith("<") else ""
    return f"{path}: not an .npz file (starts with {shown!r}).{hint} {REMEDY}"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
