"""A data set in one safetensors file: no pickle, and mapped into memory when opened.

Every block has its SHA-256 in the file. Opening compares it where that is a matter of a moment; a
larger file is mapped unread, and :func:`verify_saved` reads all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flowpolicy.data.info import DatasetInfo
from flowpolicy.data.layout import BLOCK_DTYPES, Column
from flowpolicy.data.validation import FLAGS, REQUIRED
from flowpolicy.durable import replacing
from flowpolicy.errors import DataError

if TYPE_CHECKING:
    from flowpolicy.data.dataset import Dataset

FORMAT = "flowpolicy-dataset-2"
WITHOUT_DIGESTS = "flowpolicy-dataset-1"
"""The format before blocks had digests; still read."""

CHECKED = 64 * 2**20
"""Bytes that are compared with their digests when a file is opened: less than 0.1 seconds."""


def save(dataset: Dataset, path: Path) -> None:
    """Write ``dataset`` to ``path``, complete or not at all."""
    metadata = {
        "format": FORMAT,
        "columns": json.dumps([asdict(column) for column in dataset.columns]),
        "info": json.dumps(dataset.info.to_dict()),
    }
    blocks = {name: block.cpu().contiguous() for name, block in dataset.blocks.items()}
    metadata["digests"] = json.dumps(_digests(blocks, metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as staging:
        save_file(blocks, staging, metadata=metadata)


def open_saved(path: Path) -> Dataset:
    """Map the file that :func:`save` wrote; its content is compared up to :data:`CHECKED` bytes.

    Raises:
        DataError: the file is not there, damaged, or something else.
    """
    dataset, metadata = _mapped(path)
    size = sum(block.nbytes for block in dataset.blocks.values())
    if metadata["format"] == FORMAT and size <= CHECKED:
        _require_digests(path, dataset.blocks, metadata)
    return dataset


def verify_saved(path: Path) -> bool:
    """Read all of a file that :func:`save` wrote, however large; whether it had digests.

    Raises:
        DataError: the file is not there, damaged, or something else.
    """
    dataset, metadata = _mapped(path)
    if metadata["format"] == WITHOUT_DIGESTS:
        return False
    _require_digests(path, dataset.blocks, metadata)
    return True


def may_be_saved(path: Path) -> bool:
    """Whether a file is a saved data set, or too damaged to say that it is none."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format") in (FORMAT, WITHOUT_DIGESTS)
    except (SafetensorError, OSError):
        return True


def _mapped(path: Path) -> tuple[Dataset, dict[str, str]]:
    from flowpolicy.data.dataset import Dataset

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            blocks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Write one with Dataset.save.") from None
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: not a readable safetensors file ({error}). Write it again with Dataset.save."
        ) from error
    if metadata.get("format") not in (FORMAT, WITHOUT_DIGESTS):
        raise DataError(
            f"{path}: not a saved data set (format {metadata.get('format')!r}, expected "
            f"{FORMAT!r}). Files of other kinds go through Dataset.from_tensordict."
        )
    try:
        columns = [column_from(record) for record in json.loads(metadata["columns"])]
        info = DatasetInfo.from_dict(json.loads(metadata["info"]))
        require_described(columns, info, blocks)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: its description is damaged ({error}). Write the file again with Dataset.save."
        ) from error
    widths = {name: sum(c.width for c in columns if c.block == name) for name in blocks}
    for name, block in blocks.items():
        expected = (info.transitions, widths[name])
        if block.dtype != BLOCK_DTYPES.get(name) or block.shape != expected:
            raise DataError(
                f"{path}: block {name!r} is {block.dtype} {list(block.shape)}, which is not what "
                f"its description says ({list(expected)}). Write the file again with Dataset.save."
            )
    return Dataset.from_blocks(blocks, columns, info), metadata


def _digests(blocks: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of the bytes of every block, and of the description."""
    contents = {name: block.numpy().data for name, block in blocks.items()}
    contents["description"] = memoryview((metadata["columns"] + metadata["info"]).encode())
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _require_digests(path: Path, blocks: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    try:
        written = json.loads(metadata["digests"])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path}: its digests are damaged ({error}). Write the file again with Dataset.save."
        ) from error
    found = _digests(blocks, metadata)
    if written == found:
        return
    known = written if isinstance(written, dict) else {}
    changed = [name for name, digest in found.items() if known.get(name) != digest]
    raise DataError(
        f"{path}: {', '.join(changed) or 'digests'} changed since it was written (SHA-256 differs)."
        " Write the file again with Dataset.save."
    )


def require_described(columns: Sequence[Column], info: DatasetInfo, blocks: Iterable[str]) -> None:
    """Refuse columns that are not those of transitions, with a ``ValueError`` that says which."""
    keys = [column.key for column in columns]
    if missing := [key for key in (*REQUIRED, *FLAGS[:3], "episode") if key not in keys]:
        raise ValueError(f"no column {missing[0]!r}")
    if strange := {column.block for column in columns} ^ set(blocks):
        raise ValueError(f"block {min(strange)!r} is not both described and there")
    if len(set(keys)) != len(keys) or min(column.width for column in columns) < 1:
        raise ValueError("columns that lie on each other")
    widths = {column.key: column.width for column in columns}
    if (widths["observation"], widths["action"]) != (info.obs_dim, info.act_dim):
        raise ValueError("widths that contradict each other")


def column_from(record: dict[str, object]) -> Column:
    """A column from its JSON, in which a tuple is a list."""
    key = record["key"]
    return Column(
        key=(str(key[0]), str(key[1])) if isinstance(key, list) else str(key),
        block=str(record["block"]),
        width=int(str(record["width"])),
        flat=bool(record["flat"]),
    )
