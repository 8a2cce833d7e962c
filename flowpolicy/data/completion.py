"""The entries of a transition in their final dtypes, with those that follow from the others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from flowpolicy.data.layout import Key
from flowpolicy.data.validation import DONE, TERMINATED, TRUNCATED, few, gaps_inside, spell


def single_precision(entries: Mapping[Key, Tensor], source: str) -> dict[Key, Tensor]:
    """The entries with all floating-point numbers in float32; a notice where they had fewer digits.

    What is no tensor stays, to be refused by name.
    """
    cast = dict(entries)
    for key, values in entries.items():
        if isinstance(values, Tensor) and values.dtype.is_floating_point:
            note_half_precision(source, spell(key), values.dtype.itemsize, str(values.dtype))
            cast[key] = values.detach().float()
    return cast


def note_half_precision(source: str, key: str, itemsize: int, dtype: str) -> None:
    """Say that numbers were recorded with fewer digits than they are trained with."""
    if itemsize < torch.float32.itemsize:
        warnings.warn(
            f"{source}: {key} was recorded in {dtype.removeprefix('torch.')}, with about three "
            "digits; it is kept as float32, which does not bring the others back",
            stacklevel=4,
        )


def complete(entries: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    """Checked entries, with the derivable ones filled in."""
    entries = dict(entries)
    terminated, truncated = entries[TERMINATED], entries.get(TRUNCATED)
    if truncated is None:
        truncated = entries.get(DONE, terminated) & ~terminated
    entries[TRUNCATED] = truncated
    entries[DONE] = terminated | truncated
    if "episode" not in entries:
        entries["episode"] = _episodes(entries)
    entries["episode"] = entries["episode"].long()
    return entries


def _episodes(entries: Mapping[Key, Tensor]) -> Tensor:
    """A number for each trajectory, ``[N]``: one ends where it is done.

    Of single steps also where few of them lead elsewhere than to the next row, as where the
    environments of a batch follow each other or a row was lost.
    """
    ends = entries[DONE].reshape(-1).long()
    episode = ends.cumsum(0) - ends
    if "steps_to_next_obs" in entries:
        return episode
    gaps = gaps_inside(entries, episode)
    if few(gaps, episode):
        episode[1:] += gaps.cumsum(0)
    return episode
