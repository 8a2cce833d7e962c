"""What an agent learns from while it acts: the data, and the transitions seen since."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import ReplayBuffer, TensorStorage

from flowpolicy.data import Dataset
from flowpolicy.data.validation import check_transitions
from flowpolicy.errors import CheckpointError, DataError

_ROWS = 65_536
"""Rows that are copied at a time."""


class Experience(ABC):
    """A data set and room for online transitions, in TorchRL's replay buffers.

    Batches have the keys of the data and no others, wherever their rows come from. Nothing is ever
    overwritten.

    Args:
        dataset: The data as the agent sees them.
        capacity: The most online rows there will be.
        generator: Draws the rows of batches; on the device of the data.

    Attributes:
        parts: Of how many equal parts a batch is put together.
    """

    parts: ClassVar[int] = 1

    def __init__(self, dataset: Dataset, capacity: int, generator: torch.Generator) -> None:
        self.dataset = dataset
        self.generator = generator
        self._keys = set(dataset.entries())
        self.buffer = self._filled(capacity)
        self._data_rows = len(self.buffer)

    @abstractmethod
    def _filled(self, capacity: int) -> ReplayBuffer:
        """The buffer that takes online rows, with what it holds from the start."""

    @abstractmethod
    def sample(self, batch_size: int) -> TensorDictBase:
        """A batch ``[B]`` with the keys of the data."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether a batch can be drawn."""

    def append(self, rows: TensorDictBase) -> None:
        """Adds online rows ``[N]``.

        Raises:
            DataError: They have not the keys of the data; the storage would keep old values there.
        """
        keys = set(rows.keys(include_nested=True, leaves_only=True))
        if different := sorted(keys ^ self._keys, key=str):
            raise DataError(
                f"online rows must have the entries of {self.dataset.info.name!r} and no others; "
                f"{different[0]!r} is in only one of them"
            )
        self.buffer.extend(rows.to(self.dataset.device))

    @final
    def online(self) -> TensorDictBase:
        """All online rows ``[N]``, in the order in which they came."""
        rows: TensorDictBase = self.buffer[self._data_rows :]
        return rows

    @final
    def __len__(self) -> int:
        """The number of online rows."""
        return len(self.buffer) - self._data_rows

    @final
    def state(self) -> dict[str, Tensor]:
        """The online rows as tensors by key, for a checkpoint."""
        if not len(self):
            return {}
        rows = self.online()
        return {
            name if isinstance(name, str) else ".".join(name): rows[name]
            for name in rows.keys(include_nested=True, leaves_only=True)
        }

    @final
    def load(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Appends what :meth:`state` gave.

        Raises:
            CheckpointError: The rows have other entries than the data, or cannot be trained on.
        """
        if not state:
            return
        like = self.dataset.take(torch.zeros(1, dtype=torch.int64))
        rows = like.expand(len(next(iter(state.values())))).clone()
        for name in like.keys(include_nested=True, leaves_only=True):
            saved = state.get(name if isinstance(name, str) else ".".join(name))
            if saved is None or saved.shape != rows[name].shape or saved.dtype != rows[name].dtype:
                raise CheckpointError(
                    f"{origin}: its online transitions do not fit the data of the run at {name!r}"
                )
            rows[name] = saved
        entries = {name: rows[name] for name in self.dataset.entries()}
        try:
            check_transitions(f"{origin}, online transitions", entries)
        except DataError as error:
            raise CheckpointError(str(error)) from error
        self.append(rows)

    def _buffer(self, capacity: int) -> ReplayBuffer:
        row = self.dataset.take(torch.zeros(1, dtype=torch.int64))
        # Made at once: TorchRL's lazy storage writes a line to the terminal when it is.
        storage = TensorStorage(row.expand(capacity).clone(), device="auto")
        buffer = ReplayBuffer(storage=storage, generator=self.generator)
        buffer.empty()
        return buffer


@final
class PooledExperience(Experience):
    r"""One buffer of data and online rows, from which batches are drawn uniformly.

    .. math:: (s, a, r, s') \sim \mathcal U(\mathcal D \cup \mathcal B)

    Example:
        >>> from flowpolicy import data
        >>> dataset = data.embedded()
        >>> experience = PooledExperience(dataset, capacity=5, generator=torch.Generator())
        >>> experience.append(dataset.take(torch.tensor([0, 1])))
        >>> len(experience), len(experience.buffer) == len(dataset) + 2
        (2, True)

    Source: Park, Li, Levine, "Flow Q-learning", 2025, arXiv 2502.02538.

    Differences from the authors' code: their buffer holds at least two million rows and writes
    over the oldest where the data alone are more; this one keeps everything.
    """

    def _filled(self, capacity: int) -> ReplayBuffer:
        buffer = self._buffer(len(self.dataset) + capacity)
        for index in torch.arange(len(self.dataset)).split(_ROWS):
            buffer.extend(self.dataset.take(index))
        return buffer

    @property
    def ready(self) -> bool:
        """Always: there are data."""
        return True

    def sample(self, batch_size: int) -> TensorDictBase:
        """Rows ``[B]`` of data and online experience, all equally likely."""
        batch: TensorDictBase = self.buffer.sample(batch_size)
        return batch


@final
class BalancedExperience(Experience):
    r"""Two buffers; half of every batch comes from each.

    .. math:: \tfrac B2\ \text{rows} \sim \mathcal U(\mathcal D),\qquad
        \tfrac B2\ \text{rows} \sim \mathcal U(\mathcal B)

    Example:
        >>> from flowpolicy import data
        >>> dataset = data.embedded()
        >>> experience = BalancedExperience(dataset, capacity=5, generator=torch.Generator())
        >>> experience.ready
        False
        >>> experience.append(dataset.take(torch.tensor([7])))
        >>> batch = experience.sample(4)
        >>> torch.equal(batch["observation"][2:], dataset.take(torch.tensor([7, 7]))["observation"])
        True

    Source: Ball et al., "Efficient online reinforcement learning with offline data", 2023,
    arXiv 2302.02948.
    """

    parts = 2

    def _filled(self, capacity: int) -> ReplayBuffer:
        return self._buffer(capacity)

    @property
    def ready(self) -> bool:
        """Once there is an online row."""
        return len(self) > 0

    def sample(self, batch_size: int) -> TensorDictBase:
        """Rows ``[B]``: data in the first half, online experience in the second."""
        data = self.dataset.sample(batch_size // 2, self.generator)
        online: TensorDict = self.buffer.sample(batch_size - batch_size // 2)
        return torch.cat([data, online])
