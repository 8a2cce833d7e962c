"""Where the file of a data set comes from, as far as it can be known."""

from __future__ import annotations

import json
from pathlib import Path

from flowpolicy.data import locate
from flowpolicy.data.info import Origin
from flowpolicy.data.names import DatasetName
from flowpolicy.errors import DataError


def origin_of(path: Path, name: DatasetName, digest: str) -> Origin:
    """Tell generated files, which have a JSON file beside them, from others.

    Args:
        path: the file of a split.
        name: the data set that it is taken for.
        digest: the SHA-256 of its content.

    Raises:
        DataError: the JSON file beside it is of another data set.
    """
    note = path.with_name(f"{name.stem}.json")
    try:
        record = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "file"
    if not isinstance(record, dict) or not isinstance(record.get("sha256"), dict):
        return "file"  # a JSON file of somebody else
    version = name.stem.rpartition("-")[2]
    if f"{record.get('dataset')}-{version}" != name.stem:
        raise DataError(
            f"{path}: {note.name} beside it says that it was generated as "
            f"{record.get('dataset')!r}; this is the data set of another environment. Give both "
            "files their own names back."
        )
    if digest not in record["sha256"].values():
        return "file"
    return "embedded" if path.parent == locate.EMBEDDED else "generated"
