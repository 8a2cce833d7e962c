"""The entries of a transition that follow from the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowpolicy.data.layout import Key
from flowpolicy.data.validation import check_entry
from flowpolicy.errors import DataError, MissingKeyError

FLAGS: tuple[Key, ...] = (("next", "terminated"), ("next", "truncated"), ("next", "done"))


def complete(entries: Mapping[Key, Tensor], source: str) -> dict[Key, Tensor]:
    """The entries in their final dtypes, with the derivable ones filled in."""
    entries = {
        key: values.float() if values.dtype.is_floating_point else values
        for key, values in entries.items()
    }
    flags = {key: entries[key] for key in FLAGS if key in entries}
    if ("next", "terminated") not in flags:
        raise MissingKeyError(
            f"{source}: no ('next', 'terminated'); it tells whether the next state has a value. "
            "A bare ('next', 'done') does not say whether a trajectory ended or was cut off."
        )
    for key, values in flags.items():
        check_entry(source, key, values, rows=len(flags["next", "terminated"]))
        if values.dtype != torch.bool:
            raise DataError(
                f"{source}: {key!r} must be boolean, got {values.dtype}. Convert it with .bool()."
            )
    terminated = flags["next", "terminated"]
    truncated = flags.get(("next", "truncated"))
    if truncated is None:
        truncated = flags.get(("next", "done"), terminated) & ~terminated
    entries["next", "truncated"] = truncated
    entries["next", "done"] = terminated | truncated
    if "episode" not in entries:
        ends = entries["next", "done"].reshape(-1).long()
        entries["episode"] = ends.cumsum(0) - ends
    entries["episode"] = entries["episode"].long()
    return entries
