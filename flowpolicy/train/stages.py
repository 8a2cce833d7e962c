"""From single steps, as they come, to the rows that the transforms make of a recorded data set."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from flowpolicy.data import Dataset, transforms
from flowpolicy.data.layout import Key
from flowpolicy.data.transforms.chunk import cut_chunks

Row = Mapping[Key, Tensor]
"""The entries of one row, ``[1, ...]`` each."""


class Stage(Protocol):
    """Takes one row after the other and gives those that are complete by then."""

    def add(self, row: Row) -> list[Row]:
        """The rows that ``row`` completes; none, one or several."""
        ...


def stages_of(dataset: Dataset) -> list[Stage]:
    """What must be done to single steps so that they become rows like those of ``dataset``.

    The stages follow each other as the transforms do that made the data: see
    :func:`flowpolicy.train.task.load_dataset`.

    Example:
        >>> from flowpolicy import data
        >>> [type(stage).__name__ for stage in stages_of(transforms.n_step(data.embedded(), 5))]
        ['NStepWindows']
    """
    info, stages = dataset.info, list[Stage]()
    if info.horizon > 1:
        stages.append(Chunks(info.horizon, info.discount or 1.0))
    if ("next", "action") in dataset.entries():
        stages.append(NextActions(info.horizon))
    if info.n_step > 1:
        stages.append(NStepWindows(info.n_step, info.discount or 1.0))
    return stages


def passed(stages: Iterable[Stage], step: Row) -> list[Row]:
    """The rows that come out at the end when one step is put in."""
    rows = [step]
    for stage in stages:
        rows = [out for row in rows for out in stage.add(row)]
    return rows


@final
class NStepWindows:
    """Windows of up to ``n`` steps, as :func:`~flowpolicy.data.transforms.n_step` cuts them.

    Args:
        n: The most steps of a window.
        discount: The discount per step.
    """

    def __init__(self, n: int, discount: float) -> None:
        self.n = n
        self.discount = discount
        self._recent: deque[Row] = deque(maxlen=n)

    def add(self, row: Row) -> list[Row]:
        """All windows that a success ends, else the one that is full now, if any."""
        self._recent.append(row)
        solved = bool(row["next", "terminated"].any())
        complete = solved or len(self._recent) == self.n
        windows = self._cut() if complete else []
        if row["next", "done"].any():
            self._recent.clear()
        return windows

    def _cut(self) -> list[Row]:
        with warnings.catch_warnings():  # that the other rows are dropped: their turn comes
            warnings.simplefilter("ignore")
            return _rows(transforms.n_step(_joined(self._recent), self.n, self.discount))


@final
class Chunks:
    """Windows of ``horizon`` rows, as :func:`~flowpolicy.data.transforms.chunk` cuts them.

    Args:
        horizon: The number of steps in a chunk.
        discount: The discount per step.
    """

    def __init__(self, horizon: int, discount: float) -> None:
        self.discount = discount
        self._recent: deque[Row] = deque(maxlen=horizon)

    def add(self, row: Row) -> list[Row]:
        """The chunk that ends with ``row``, also where an episode ended in it."""
        self._recent.append(row)
        horizon = len(self._recent)
        if horizon < (self._recent.maxlen or 0):
            return []
        return _rows(cut_chunks(_joined(self._recent), horizon, self.discount))


@final
class NextActions:
    """Adds ``("next", "action")``, as :func:`~flowpolicy.data.transforms.with_next_action` does.

    Args:
        horizon: How many rows later the next action is.
    """

    def __init__(self, horizon: int) -> None:
        self._recent: deque[Row] = deque(maxlen=horizon + 1)

    def add(self, row: Row) -> list[Row]:
        """The row whose next action ``row`` tells."""
        self._recent.append(row)
        if len(self._recent) < (self._recent.maxlen or 0):
            return []
        return [{**self._recent[0], ("next", "action"): row["action"]}]


def as_batch(rows: Iterable[Row]) -> TensorDictBase:
    """Rows as TorchRL lays them out, ``[N]``."""
    entries = _entries(rows)
    count = len(entries["episode"])
    batch = TensorDict({"next": TensorDict(batch_size=[count])}, batch_size=[count])
    for key, values in entries.items():
        batch[key] = values
    return batch


def _entries(rows: Iterable[Row]) -> dict[Key, Tensor]:
    rows = list(rows)
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def _joined(rows: Iterable[Row]) -> Dataset:
    return Dataset(_entries(rows), source="online steps")


def _rows(dataset: Dataset) -> list[Row]:
    entries = dataset.entries()
    return [{k: v[i : i + 1] for k, v in entries.items()} for i in range(len(dataset))]
