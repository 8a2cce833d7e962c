"""One set of checks for everything that enters a data set, with messages that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowpolicy.data.layout import Key
from flowpolicy.errors import DataError, MissingKeyError, ShapeError

#: What a transition needs; everything else is derived or optional.
REQUIRED: tuple[Key, ...] = ("observation", "action", ("next", "observation"), ("next", "reward"))
#: The share of positions inside walls that a maze's own data may have: bodies lean over corners.
MOST_IN_WALLS = 0.01
SCALARS: tuple[Key, ...] = (
    ("next", "reward"),
    ("next", "terminated"),
    ("next", "truncated"),
    ("next", "done"),
    "steps_to_next_obs",
    "valid",
)


def float_tensor(source: str, key: str, array: np.ndarray) -> Tensor:
    """A float32 tensor ``[N, width]`` from an array of a file, checked to be finite.

    Raises:
        DataError: not floating-point numbers, not a matrix, NaN or infinity.
    """
    if array.dtype.kind != "f":
        raise DataError(
            f"{source}: {key} has dtype {array.dtype}; floating-point numbers are needed."
        )
    if array.ndim != 2:
        raise DataError(
            f"{source}: {key} must be a matrix [rows, width], got shape {list(array.shape)}."
        )
    with np.errstate(over="ignore"):  # an overflow becomes inf, which is refused below
        values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    check_finite(source, key, values)
    return values


def check_finite(source: str, key: Key, values: Tensor) -> None:
    """Refuse NaN and infinite numbers, naming the first."""
    finite = torch.isfinite(values)
    if bool(finite.all()):
        return
    bad_rows = int((~finite).reshape(len(values), -1).any(dim=1).sum())
    first = (~finite).nonzero()[0].tolist()
    raise DataError(
        f"{source}: {spell(key)}: {bad_rows} of {len(values)} rows not finite, "
        f"first at row {first[0]} (index {first}, value {values[tuple(first)].item()}). "
        "Remove these rows or repair the file."
    )


def check_actions(source: str, key: Key, actions: Tensor) -> None:
    """Refuse actions outside [-1, 1], showing the largest."""
    outside = actions.abs() > 1
    if not bool(outside.any()):
        return
    magnitude, position = actions.abs().flatten().max(dim=0)
    row = int(position) // actions.shape[1]
    raise DataError(
        f"{source}: {spell(key)}: {int(outside.any(dim=1).sum())} of {len(actions)} rows outside "
        f"[-1, 1] (largest magnitude {magnitude.item():.6g}, in row {row}). Rescale them, for "
        "instance by Dataset.from_tensordict(td, action_low=..., action_high=...) with the bounds "
        "of the environment's action space."
    )


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
            f"{source}: terminals must be 0 or 1, got {strange[0].item()!r} (first at row {row})."
        )
    flags: np.ndarray = array.astype(bool)
    if not flags[-1]:
        raise DataError(
            f"{source}: terminals: the last row (row {len(flags) - 1}) does not end a trajectory; "
            "the file is incomplete, or its last trajectory lacks its end."
        )
    return flags


def check_environment(
    source: str, env_id: str, *, found: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Refuse a file whose observations or actions do not fit the environment."""
    for key, came, wanted in zip(("observations", "actions"), found, expected, strict=True):
        if came != wanted:
            raise DataError(
                f"{source}: {key} have {came} columns but {env_id} has {wanted}; "
                "this is the data set of another environment. Check the file's name and origin."
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
    if not hasattr(maze, "maze_map") or qpos.shape[1] < 2:
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


def check_transitions(source: str, entries: Mapping[Key, Tensor]) -> None:
    """Refuse transitions that cannot be trained on.

    Args:
        source: what to call them in a message.
        entries: tensors ``[N]`` or ``[N, width]`` by key.

    Raises:
        MissingKeyError: an entry that every transition has is not there.
        ShapeError: lengths or widths that do not fit each other.
        DataError: no rows, complex numbers, NaN, infinity, or actions outside [-1, 1].
    """
    for key in REQUIRED:
        if key not in entries:
            raise MissingKeyError(
                f"{source}: no {spell(key)}; a transition needs "
                f"{', '.join(map(spell, REQUIRED))} and ('next', 'terminated')."
            )
    rows = len(entries["observation"])
    if rows == 0:
        raise DataError(f"{source}: the data set is empty (0 rows).")
    for key, values in entries.items():
        check_entry(source, key, values, rows)
    observation, successor = entries["observation"], entries["next", "observation"]
    if observation.shape != successor.shape:
        raise ShapeError(
            f"{source}: ('next', 'observation') has shape {list(successor.shape)} but "
            f"'observation' has {list(observation.shape)}; both are [N, O]."
        )
    check_actions(source, "action", entries["action"])


def check_entry(source: str, key: Key, values: Tensor, rows: int) -> None:
    """Refuse one entry whose shape, dtype or values cannot be used."""
    wanted = "[N, 1]" if key in SCALARS else "[N]" if key == "episode" else "[N, width]"
    fits = {"[N, 1]": values.shape[1:] == (1,), "[N]": values.ndim == 1}.get(
        wanted, values.ndim == 2 or (values.ndim == 1 and key not in REQUIRED)
    )
    if not fits or len(values) != rows:
        raise ShapeError(
            f"{source}: {spell(key)} must be {wanted} with N = {rows}, got {list(values.shape)}."
        )
    if key == "valid" and values.dtype != torch.bool:
        raise DataError(
            f"{source}: 'valid' must be boolean, got {values.dtype}. Convert it with .bool()."
        )
    if values.dtype.is_complex:
        raise DataError(
            f"{source}: {spell(key)} has dtype {values.dtype}; real numbers are needed."
        )
    if key in REQUIRED and not values.dtype.is_floating_point:
        raise DataError(
            f"{source}: {spell(key)} has dtype {values.dtype}; floating-point numbers are needed. "
            "Convert it with .float()."
        )
    if values.dtype.is_floating_point:
        check_finite(source, key, values)


def spell(key: Key) -> str:
    """A key as a person would type it."""
    return repr(key)
