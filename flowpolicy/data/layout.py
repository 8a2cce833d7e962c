"""How the entries of a data set share three contiguous blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

Key = str | tuple[str, str]

#: One block per kind of entry, so that a batch costs one gather each.
BLOCK_DTYPES = {"real": torch.float32, "flag": torch.bool, "count": torch.int64}


#: What one environment step gives besides its ``episode``.
STEP_KEYS: tuple[Key, ...] = (
    "observation",
    "action",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "terminated"),
    ("next", "truncated"),
    ("next", "done"),
)

#: All usual entries, in their order inside the blocks, so that equal data are equal byte by byte;
#: others follow by name.
ORDER: tuple[Key, ...] = (*STEP_KEYS, "episode", "steps_to_next_obs", "valid")


def is_after(key: Key) -> bool:
    """Whether an entry is of the end of a transition.

    Example:
        >>> is_after(("next", "observation")), is_after("observation"), is_after(("info", "cost"))
        (True, False, False)
    """
    return isinstance(key, tuple) and key[0] == "next"


@dataclass(frozen=True)
class Column:
    """The place of one entry: ``width`` columns of a block; a flat one is seen as ``[*B]``."""

    key: Key
    block: str
    width: int
    flat: bool = False


def column_for(key: Key, values: Tensor) -> Column:
    """The column that holds ``values`` of shape ``[N]`` or ``[N, width]``."""
    if values.dtype == torch.bool:
        block = "flag"
    elif values.dtype.is_floating_point:
        block = "real"
    else:
        block = "count"
    flat = values.ndim == 1
    return Column(key, block, 1 if flat else values.shape[1], flat)


def pack(entries: Mapping[Key, Tensor]) -> tuple[dict[str, Tensor], tuple[Column, ...]]:
    """Copy all entries into contiguous blocks ``[N, width]``, one per kind.

    Example:
        >>> blocks, columns = pack({"observation": torch.zeros(4, 3), "episode": torch.arange(4)})
        >>> {name: tuple(block.shape) for name, block in blocks.items()}
        {'real': (4, 3), 'count': (4, 1)}
    """
    columns = sorted(
        (column_for(key, values) for key, values in entries.items()),
        key=position,
    )
    blocks = {
        name: torch.cat(
            [entries[c.key].reshape(-1, c.width).to(BLOCK_DTYPES[name]) for c in members], dim=1
        )
        for name, members in by_block(columns)
    }
    return blocks, tuple(columns)


def position(column: Column) -> tuple[int, int, str]:
    """Where a column sorts: by block, then in the usual order, then by name."""
    place = ORDER.index(column.key) if column.key in ORDER else len(ORDER)
    return list(BLOCK_DTYPES).index(column.block), place, repr(column.key)


def by_block(columns: Iterable[Column]) -> list[tuple[str, list[Column]]]:
    """The columns of each block, in the order in which they lie there."""
    return [(name, list(members)) for name, members in groupby(columns, key=lambda c: c.block)]
