"""Checkpoints of earlier formats, lifted to that of today.

A checkpoint on the disk is never rewritten: its files are lifted when they are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Files: TypeAlias = Mapping[str, bytes]


def _1_to_2(files: Files) -> dict[str, bytes]:
    """Extras, the data and the environment get files; tensors of the noise are referred to."""
    if "state.json" not in files:  # nothing of an agent
        return dict(files)
    state: dict[str, Any] = json.loads(files["state.json"])
    prefix = "noise/generators/"
    for name in _tensor_names(files["rng.safetensors"]):
        if name.startswith(prefix):
            state["noise"]["generators"][name.removeprefix(prefix)] = {"$tensor": name}
    environment = {
        "packages": {"torch": state.pop("torch", None)},
        "threads": state.pop("threads", None),
    }
    return {
        **files,
        "state.json": _json(state),
        "environment.json": _json(environment),
        "data.json": _json({}),
        "extras.json": _json({}),
        "extras.safetensors": _NO_TENSORS,
    }


MIGRATIONS: Final[Mapping[int, Callable[[Files], dict[str, bytes]]]] = {1: _1_to_2}
"""By the format that is lifted to the next one."""

FORMAT_VERSION: Final = max(MIGRATIONS) + 1
"""The format of today."""


def migrated(files: Files, version: int) -> dict[str, bytes]:
    """The files of a checkpoint as today's code would have written them.

    Args:
        files: Contents by file name, verified.
        version: Their format, at most :data:`FORMAT_VERSION`.

    Example:
        >>> sorted(migrated({"config.json": b"{}"}, 1))
        ['config.json']
    """
    for step in range(version, FORMAT_VERSION):
        files = MIGRATIONS[step](files)
    return dict(files)


_NO_TENSORS: Final = (2).to_bytes(8, "little") + b"{}"


def _tensor_names(safetensors: bytes) -> list[str]:
    length = int.from_bytes(safetensors[:8], "little")
    return [name for name in json.loads(safetensors[8 : 8 + length]) if name != "__metadata__"]


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
