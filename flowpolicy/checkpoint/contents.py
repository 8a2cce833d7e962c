"""The files of a checkpoint by name, as tensors or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flowpolicy.checkpoint.directory import DamagedCheckpointError
from flowpolicy.checkpoint.tensors import bytes_to_tensors
from flowpolicy.errors import CheckpointError


def tensors_in(files: Mapping[str, bytes], name: str, origin: str) -> dict[str, Tensor]:
    """The tensors of one file of a checkpoint."""
    return bytes_to_tensors(_content(files, name, origin), f"{origin}: {name}")


def json_in(files: Mapping[str, bytes], name: str, origin: str) -> Any:
    """The value of one JSON file of a checkpoint."""
    try:
        return json.loads(_content(files, name, origin))
    except ValueError as error:
        raise DamagedCheckpointError(f"{origin}: {name} is not JSON ({error})") from error


def to_json(value: object) -> bytes:
    """A value as the JSON file of a checkpoint."""
    return json.dumps(value, indent=1).encode()


def _content(files: Mapping[str, bytes], name: str, origin: str) -> bytes:
    if name not in files:
        raise CheckpointError(f"{origin} has no {name}; it is not a checkpoint of an agent")
    return files[name]
