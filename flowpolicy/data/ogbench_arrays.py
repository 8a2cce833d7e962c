"""What the arrays of an OGBench file must be before they become transitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowpolicy.data.completion import note_half_precision
from flowpolicy.data.validation import check_finite
from flowpolicy.errors import DataError

#: The share of positions inside walls that a maze's own data may have: bodies lean over corners.
MOST_IN_WALLS = 0.01
#: Arrays that OGBench adds when it loads a file; it leaves rows out or flags more of them then.
ARRANGED = ("next_observations", "valids")


def check_recorded(source: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse what was saved after OGBench had arranged it, whose rows mean something else."""
    for key in ARRANGED:
        if key in arrays:
            raise DataError(
                f"{source}: the file has {key!r}, so it holds data as OGBench arranges them when "
                "it loads a file, not as they were recorded. Use the file that OGBench downloads, "
                "or make transitions of this one by Dataset.from_tensordict."
            )


def float_tensor(source: str, key: str, array: np.ndarray) -> Tensor:
    """A float32 tensor ``[N, width]`` from an array of a file, checked to be finite.

    Raises:
        DataError: not floating-point numbers, not a matrix, NaN or infinity.
    """
    if array.dtype.kind != "f":
        raise DataError(
            f"{source}: {key} has dtype {array.dtype}; floating-point numbers are needed. "
            "Write the array in float32."
        )
    if array.ndim != 2:
        raise DataError(
            f"{source}: {key} must be a matrix [rows, width], got shape {list(array.shape)}. "
            "Write one row per step."
        )
    note_half_precision(source, key, array.dtype.itemsize, array.dtype.name)
    with np.errstate(over="ignore"):  # an overflow becomes inf, which is refused below
        values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    check_finite(source, key, values)
    return values


def check_lengths(source: str, arrays: Mapping[str, np.ndarray]) -> int:
    """Refuse arrays of unequal length and empty ones; the common number of rows."""
    lengths = {key: len(array) if array.ndim else 0 for key, array in arrays.items()}
    reference, rows = next(iter(lengths.items()))
    for key, length in lengths.items():
        if length != rows:
            raise DataError(
                f"{source}: {key} has {length} rows but {reference} has {rows}; "
                "every array needs one row per step."
            )
    if rows == 0:
        raise DataError(f"{source}: the data set is empty (0 rows).")
    return rows


def terminal_flags(source: str, array: np.ndarray) -> np.ndarray:
    """The last rows of the recorded trajectories, as booleans ``[N]``.

    Raises:
        DataError: other values than 0 and 1, another shape, or an end that is missing.
    """
    if array.ndim != 1 or array.dtype.kind not in "bfiu":
        raise DataError(
            f"{source}: terminals must be one number 0 or 1 per row, "
            f"got shape {list(array.shape)} and dtype {array.dtype}."
        )
    values = np.unique(array)
    strange = values[(values != 0) & (values != 1)]
    if len(strange):
        row = int(np.flatnonzero((array != 0) & (array != 1))[0])
        raise DataError(
            f"{source}: terminals must be 0 or 1, got {strange[0].item()!r} (first at row {row}). "
            "Write 1 in the last row of every trajectory and 0 elsewhere."
        )
    flags: np.ndarray = array.astype(bool)
    if not flags[-1]:
        raise DataError(
            f"{source}: terminals: the last row (row {len(flags) - 1}) does not end a trajectory; "
            "the file is incomplete, or its last trajectory lacks its end. If it is whole, write 1 "
            "in its last row."
        )
    return flags


def check_environment(
    source: str, env_id: str, arrays: Mapping[str, np.ndarray], widths: Mapping[str, int]
) -> None:
    """Refuse a file whose arrays do not fit the environment, or lack one that its rewards need.

    Args:
        source: what to call the file in a message.
        env_id: the environment that its name stands for.
        arrays: those of the file.
        widths: how many columns the environment's have.
    """
    for key, wanted in widths.items():
        if key not in arrays:
            raise DataError(
                f"{source}: no {key!r}, which the rewards of {env_id} are computed from. Check the "
                "file's name and origin."
            )
        if (came := arrays[key].shape[1:]) != (wanted,):
            raise DataError(
                f"{source}: {key} have {' x '.join(map(str, came)) or 'no'} columns but {env_id} "
                f"has {wanted}; this is the data set of another environment. Check the file's name "
                "and origin."
            )


def check_walls(source: str, env_id: str, qpos: np.ndarray, env: Any) -> None:
    """Refuse positions that a maze has walls at: all mazes of a kind have the same widths.

    Args:
        source: what to call the file in a message.
        env_id: the environment that its name stands for.
        qpos: states `[N, Q]`, which begin with x and y.
        env: that environment; nothing is checked where it is no maze.

    Raises:
        DataError: more than one row in a hundred lies inside a wall or outside the maze.
    """
    maze = env.unwrapped
    if not hasattr(maze, "maze_map"):
        return
    walls = np.asarray(maze.maze_map) == 1
    unit = maze._maze_unit  # noqa: SLF001  (OGBench has no public name for these)
    offset = np.array([maze._offset_x, maze._offset_y])  # noqa: SLF001
    cells = np.floor((qpos[:, :2] + offset) / unit + 0.5)
    column, row = cells.clip(-1, max(walls.shape)).astype(np.int64).T
    inside = (row >= 0) & (row < walls.shape[0]) & (column >= 0) & (column < walls.shape[1])
    blocked = ~inside
    blocked[inside] = walls[row[inside], column[inside]]
    if blocked.mean() <= MOST_IN_WALLS:
        return
    first = int(np.flatnonzero(blocked)[0])
    x, y = qpos[first, :2].tolist()
    raise DataError(
        f"{source}: qpos: {int(blocked.sum())} of {len(blocked)} rows inside the walls of "
        f"{env_id}, first at row {first} (x {x:.3g}, y {y:.3g}); this is the data set of another "
        "environment. Check the file's name and origin."
    )
