"""One set of checks for everything that enters a data set, with messages that say what to do.

What can be told from a row alone is checked when a data set is made (:func:`check_transitions`),
what only consecutive rows tell where windows are cut from them (:func:`check_order`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowpolicy.data.layout import Key
from flowpolicy.errors import DataError, MissingKeyError, ShapeError, require_tensor

#: What a transition needs; everything else is derived or optional.
REQUIRED: tuple[Key, ...] = ("observation", "action", ("next", "observation"), ("next", "reward"))
TERMINATED, TRUNCATED, DONE = (("next", name) for name in ("terminated", "truncated", "done"))
#: Entries that say yes or no.
FLAGS: tuple[Key, ...] = (TERMINATED, TRUNCATED, DONE, "valid")
SCALARS: tuple[Key, ...] = (("next", "reward"), *FLAGS, "steps_to_next_obs")
#: Entries that count.
COUNTS: tuple[Key, ...] = ("episode", "steps_to_next_obs")
#: The share of steps inside episodes that may lead elsewhere: recordings lose a row now and then.
MOST_GAPS = 0.01
#: Entries that are in [-1, 1] and of one width.
ACTIONS: tuple[Key, ...] = ("action", ("next", "action"))
REPAIR = "Remove these rows or repair the file."


def check_transitions(source: str, entries: Mapping[Key, Tensor], advice: str = REPAIR) -> None:
    """Refuse transitions that cannot be trained on.

    Args:
        source: what to call them in a message.
        entries: tensors ``[N]`` or ``[N, width]`` by key.
        advice: what to do about numbers that are not finite.

    Raises:
        MissingKeyError: an entry that every transition has is not there.
        ShapeError: lengths or widths that do not fit each other.
        DtypeError: an entry that is no tensor.
        DataError: no rows, numbers of another kind, NaN, infinity, actions outside [-1, 1], or
            entries that contradict each other.
    """
    check_keys(source, entries)
    for key, values in entries.items():
        require_tensor(source, str(key), values)
    observation, successor = entries["observation"], entries["next", "observation"]
    rows = len(observation) if observation.ndim else 1
    if rows == 0:
        raise DataError(f"{source}: the data set is empty (0 rows).")
    for key, values in entries.items():
        check_entry(source, key, values, rows, advice)
        if values.device != observation.device:
            raise DataError(
                f"{source}: {spell(key)} lies on {values.device} but 'observation' on "
                f"{observation.device}. Move all entries to one device."
            )
    if observation.shape != successor.shape:
        raise ShapeError(
            f"{source}: ('next', 'observation') has shape {list(successor.shape)} but "
            f"'observation' has {list(observation.shape)}; both are [N, O]."
        )
    for key in ACTIONS:
        if key in entries:
            check_actions(source, key, entries[key], entries["action"].shape)
    check_flags(source, entries)


def check_keys(source: str, entries: Mapping[Key, Tensor]) -> None:
    """Refuse names that cannot be held, and the lack of one that is needed."""
    for key in entries:
        check_key(source, key)
        if not isinstance(key, str) and key[0] in entries:
            raise DataError(
                f"{source}: {spell(key[0])} is a tensor and the parent of {spell(key)}; it can "
                "be one of them. Rename one."
            )
    for key in REQUIRED:
        if key not in entries:
            raise MissingKeyError(
                f"{source}: no {spell(key)}; a transition needs "
                f"{', '.join(map(spell, REQUIRED))} and ('next', 'terminated')."
            )
    if TERMINATED not in entries:
        raise MissingKeyError(
            f"{source}: no ('next', 'terminated'); it tells whether the next state has a value. "
            "A bare ('next', 'done') does not say whether a trajectory ended or was cut off."
        )


def check_key(source: str, key: object) -> None:
    """Refuse a name that is neither a text nor two of them."""
    parts = (key,) if isinstance(key, str) else key
    if (
        not isinstance(parts, tuple)
        or len(parts) > 2
        or not parts
        or not all(isinstance(part, str) and part for part in parts)
    ):
        raise DataError(
            f"{source}: {key!r} names no entry; give the name of one in the root, or two names, "
            'such as ("next", "reward"), of one in a TensorDict there.'
        )


def check_entry(source: str, key: Key, values: Tensor, rows: int, advice: str = REPAIR) -> None:
    """Refuse one entry whose shape, dtype or values cannot be used."""
    wanted = "[N, 1]" if key in SCALARS else "[N]" if key == "episode" else "[N, width]"
    fits = {"[N, 1]": values.shape[1:] == (1,), "[N]": values.ndim == 1}.get(
        wanted, values.ndim == 2 or (values.ndim == 1 and key not in REQUIRED)
    )
    if not fits or len(values) != rows or values.numel() == 0:
        raise ShapeError(
            f"{source}: {spell(key)} must be {wanted} with N = {rows}, got {list(values.shape)}."
            f"{shape_advice(wanted, values)}"
        )
    kind = str(values.dtype).removeprefix("torch.")
    if key in FLAGS and values.dtype != torch.bool:
        raise DataError(
            f"{source}: {spell(key)} must be boolean, got {values.dtype}. Convert it with .bool()."
        )
    if values.dtype.is_complex:
        raise DataError(
            f"{source}: {spell(key)} has dtype {values.dtype}; real numbers are needed."
        )
    if key in COUNTS and (values.dtype.is_floating_point or values.dtype == torch.bool):
        raise DataError(
            f"{source}: {spell(key)} must be whole numbers (int64), got {kind}. "
            "Convert it with .long()."
        )
    if key in REQUIRED and not values.dtype.is_floating_point:
        raise DataError(
            f"{source}: {spell(key)} has dtype {values.dtype}; floating-point numbers are needed. "
            "Convert it with .float()."
        )
    if values.dtype.is_floating_point:
        check_finite(source, key, values, advice)
    if key == "steps_to_next_obs" and bool((values < 1).any()):
        row = int((values < 1).reshape(-1).nonzero()[0])
        raise DataError(
            f"{source}: 'steps_to_next_obs' must be at least 1, got {values[row].item()} in row "
            f"{row}; it is the number of steps that the row's reward sums."
        )


def check_finite(source: str, key: Key, values: Tensor, advice: str = REPAIR) -> None:
    """Refuse NaN and infinite numbers, naming the first."""
    if all(bool(end.isfinite()) for end in values.aminmax()):  # which NaN passes through
        return
    finite = torch.isfinite(values)
    bad_rows = int((~finite).reshape(len(values), -1).any(dim=1).sum())
    first = (~finite).nonzero()[0].tolist()
    raise DataError(
        f"{source}: {spell(key)}: {bad_rows} of {len(values)} rows not finite, "
        f"first at row {first[0]} (index {first}, value {values[tuple(first)].item()}). {advice}"
    )


def check_actions(source: str, key: Key, actions: Tensor, shape: torch.Size | None = None) -> None:
    """Refuse actions outside [-1, 1], showing the largest, or of another shape."""
    if shape is not None and actions.shape != shape:
        raise ShapeError(
            f"{source}: {spell(key)} has shape {list(actions.shape)} but 'action' has "
            f"{list(shape)}; both are [N, A]."
        )
    low, high = actions.aminmax()
    if bool((low >= -1) & (high <= 1)):
        return
    outside = actions.abs() > 1
    magnitude, position = actions.abs().flatten().max(dim=0)
    row = int(position) // actions.shape[1]
    raise DataError(
        f"{source}: {spell(key)}: {int(outside.any(dim=1).sum())} of {len(actions)} rows outside "
        f"[-1, 1] (largest magnitude {magnitude.item():.6g}, in row {row}). Rescale them, for "
        "instance by Dataset.from_tensordict(td, action_low=..., action_high=...) with the bounds "
        "of the environment's action space."
    )


def check_flags(source: str, entries: Mapping[Key, Tensor]) -> None:
    """Refuse flags of one row that contradict each other."""
    if DONE not in entries:
        return
    ended = entries[TERMINATED]
    if TRUNCATED in entries:
        wrong = entries[DONE] != (ended | entries[TRUNCATED])
        rule = "it is True where ('next', 'terminated') or ('next', 'truncated') is"
    else:
        wrong = ended & ~entries[DONE]
        rule = "it is True wherever ('next', 'terminated') is"
    if bool(wrong.any()):
        row = int(wrong.reshape(-1).nonzero()[0])
        raise DataError(
            f"{source}: ('next', 'done') contradicts the other flags in {int(wrong.sum())} of "
            f"{len(wrong)} rows, first in row {row}; {rule}. Leave it out to have it derived."
        )


def gaps_inside(entries: Mapping[Key, Tensor], episode: Tensor) -> Tensor:
    """Which rows lead elsewhere than to the next row of their episode: ``[N - 1]`` bool.

    Args:
        entries: those of a data set of single steps.
        episode: ``[N]``, the number of each row's.
    """
    # Observations that were written twice may differ in their last digits.
    same = torch.isclose(
        entries["next", "observation"][:-1], entries["observation"][1:], rtol=1e-3, atol=1e-5
    )
    return (episode[1:] == episode[:-1]) & ~same.all(dim=1)


def few(gaps: Tensor, episode: Tensor) -> bool:
    """Whether so few rows have a gap behind them that the order of the rows is that of time.

    Args:
        gaps: ``[N - 1]`` bool.
        episode: ``[N]``.
    """
    inside = episode[1:] == episode[:-1]
    return int(gaps.sum()) <= MOST_GAPS * int(inside.sum())


def check_order(source: str, entries: Mapping[Key, Tensor]) -> None:
    """Refuse single steps whose order in their trajectories cannot be relied on.

    Args:
        source: who asks, for messages.
        entries: those of a data set of single steps.

    Raises:
        DataError: an episode in several pieces, one that goes on after it was truncated, or steps
            that lead elsewhere than to the row after them.
    """
    episode = entries["episode"]
    pieces = torch.unique_consecutive(episode)
    if len(pieces) != len(pieces.unique()):
        raise DataError(
            f"{source}: the rows of an episode do not lie next to each other. Sort the data by "
            "episode and time; data [T, E] of E environments side by side become so by "
            "data.transpose(0, 1).reshape(-1)."
        )
    inside = episode[1:] == episode[:-1]
    cut = entries[TRUNCATED][:-1, 0] & inside
    if bool(cut.any()):
        row = int(cut.nonzero()[0])
        raise DataError(
            f"{source}: ('next', 'truncated') is True in row {row}, but row {row + 1} is of the "
            f"same episode {int(episode[row])}; an episode ends where it is truncated. Number the "
            "episodes anew, or leave 'episode' out to have it derived."
        )
    apart = gaps_inside(entries, episode)
    if not few(apart, episode):
        row = int(apart.nonzero()[0])
        raise DataError(
            f"{source}: {int(apart.sum())} of {int(inside.sum())} steps lead elsewhere than to the "
            f"next row of their episode, first from row {row} (episode {int(episode[row])}): its "
            f"('next', 'observation') is not the 'observation' of row {row + 1}. Sort the data by "
            "episode and time, and give every trajectory an 'episode' number of its own."
        )


def shape_advice(wanted: str, values: Tensor) -> str:
    """What to do about a shape, where it can be guessed."""
    if wanted == "[N, 1]" and values.ndim == 1:
        return " Add the last dimension with unsqueeze(-1)."
    if wanted == "[N]" and values.ndim == 2:
        return " Drop the last dimension with squeeze(-1)."
    if values.ndim > 2:
        return " Flatten it; images need an encoder, which turns them into vectors first."
    return ""


def spell(key: Key) -> str:
    """A key as a person would type it."""
    return repr(key)
