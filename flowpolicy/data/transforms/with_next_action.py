"""The action that the data took next."""

from __future__ import annotations

import torch

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.transforms.windows import windows_of
from flowpolicy.data.validation import check_order
from flowpolicy.errors import DataError


def with_next_action(dataset: Dataset) -> Dataset:
    r"""Add ``("next", "action")``: the action of the row after the step, or of the chunk's next.

    .. math:: a'_i = a_{i+h}

    Rows are not told apart by trajectory: the last of one gets the first action of the next, as in
    the code of ReBRAC's users, and the data's last rows get the last action. Those next actions are
    wrong. Where a trajectory ended with a success no value is added and it does not matter; where
    the recording only stopped, it does, and is kept as it is there.

    Args:
        dataset: one-step data or chunks; make windows of several steps afterwards.

    Returns:
        A new data set with ``("next", "action")`` `[N, A]`.

    Raises:
        DataError: windows of several steps, whose rows are not consecutive, or rows that are not in
            order.

    Example:
        >>> from flowpolicy.data import Dataset, transforms
        >>> rows, flags = torch.arange(3.0).reshape(3, 1), torch.zeros(3, 1, dtype=torch.bool)
        >>> dataset = Dataset(
        ...     {
        ...         "observation": rows,
        ...         "action": rows / 4,
        ...         ("next", "reward"): rows,
        ...         ("next", "observation"): rows + 1,
        ...         ("next", "terminated"): flags,
        ...     }
        ... )
        >>> transforms.with_next_action(dataset).entries()["next", "action"].squeeze(-1)
        tensor([0.2500, 0.5000, 0.5000])

    Source: the released code of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538,
    for ReBRAC.
    """
    windows = windows_of(dataset)
    if windows and dataset.info.horizon == 1:
        raise DataError(
            f"with_next_action: {dataset.info.name!r} holds {windows} already. Add the next "
            "actions to the one-step data; n_step takes them along."
        )
    entries = dataset.entries()
    if windows is None:
        check_order(f"with_next_action of {dataset.info.name!r}", entries)
    rows = torch.arange(len(dataset), device=dataset.device) + dataset.info.horizon
    entries["next", "action"] = entries["action"][rows.clamp(max=len(dataset) - 1)]
    return Dataset(entries, dataset.info, source="with_next_action")
