"""What every transform asks of the data that it cuts windows from."""

from __future__ import annotations

import torch

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.validation import check_order
from flowpolicy.errors import ConfigError, DataError


def check_single_steps(transform: str, dataset: Dataset, discount: float) -> None:
    """Refuse what has no windows: a discount outside (0, 1], or rows that are no single steps.

    Args:
        transform: who asks, for messages.
        dataset: one transition per row, the rows of each episode next to each other.
        discount: the discount per step inside a window.

    Raises:
        ConfigError: a discount outside (0, 1].
        DataError: windows or chunks already, rows with ``valid``, or rows that are not in order.
    """
    if not 0 < discount <= 1:
        raise ConfigError(f"{transform}: discount must lie in (0, 1], got {discount!r}.")
    name = dataset.info.name
    if windows := windows_of(dataset):
        raise DataError(
            f"{transform}: {name!r} holds {windows} already. Start from the one-step data."
        )
    if "valid" in dataset.entries():
        raise DataError(
            f"{transform}: the rows of {name!r} have 'valid', which tells of chunks and not of "
            "steps. Remove the rows that are not valid, and the entry."
        )
    check_order(f"{transform} of {name!r}", dataset.entries())


def windows_of(dataset: Dataset) -> str | None:
    """What its rows are in words; ``None`` for single steps.

    Args:
        dataset: whose ``steps_to_next_obs`` may also come from elsewhere, such as TorchRL.
    """
    info, entries = dataset.info, dataset.entries()
    if "steps_to_next_obs" not in entries:
        return None
    if "valid" in entries:
        return f"chunks of {info.horizon} steps"
    return f"windows of {info.n_step if info.n_step > 1 else 'several'} steps"


def longest_episode(dataset: Dataset) -> int:
    """The number of rows of the longest recorded trajectory."""
    lengths = torch.unique_consecutive(dataset.entries()["episode"], return_counts=True)[1]
    return int(lengths.max())
