"""A data set of transitions that lives on a device and hands out batches quickly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from flowpolicy.data.completion import complete, single_precision
from flowpolicy.data.info import DatasetInfo
from flowpolicy.data.layout import BLOCK_DTYPES, ORDER, Column, Key, by_block, pack
from flowpolicy.data.rescaling import rescaled
from flowpolicy.data.validation import check_key, check_transitions
from flowpolicy.errors import DataError, MissingKeyError, require_at_least

if TYPE_CHECKING:
    from torchrl.data import ReplayBuffer


class Dataset:
    """Transitions in three contiguous blocks, one gather each per batch.

    The rows of one recorded trajectory lie next to each other and share their ``episode``. A
    success may lie in the middle of a trajectory, so ``("next", "done")`` does not mark its end:
    cut trajectories by ``episode``.

    Shapes: ``observation`` and ``("next", "observation")`` `[N, O]`, ``action`` `[N, A]`;
    ``("next", "reward")``, ``("next", "terminated")``, ``("next", "truncated")``,
    ``("next", "done")``, for n-step data and action chunks ``steps_to_next_obs`` and for
    action chunks ``valid`` `[N, 1]`; ``episode`` `[N]`.

    Args:
        entries: tensors by key, all of the same length; ``("next", "truncated")``,
            ``("next", "done")`` and ``episode`` are derived when they are missing.
        info: what is known about the data; sizes and counts are filled in here.
        source: what to call the data in a message.

    Raises:
        MissingKeyError: an entry that every transition needs is not there.
        ShapeError: entries that do not fit each other.
        DataError: no rows, NaN, infinity, or actions outside [-1, 1].

    Example:
        >>> import torch
        >>> from flowpolicy.data import Dataset
        >>> dataset = Dataset(
        ...     {
        ...         "observation": torch.zeros(5, 3),
        ...         "action": torch.zeros(5, 2),
        ...         ("next", "observation"): torch.ones(5, 3),
        ...         ("next", "reward"): torch.zeros(5, 1),
        ...         ("next", "terminated"): torch.zeros(5, 1, dtype=torch.bool),
        ...     }
        ... )
        >>> batch = dataset.sample(4, generator=torch.Generator().manual_seed(0))
        >>> batch["next", "observation"].shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        entries: Mapping[Key, Tensor],
        info: DatasetInfo | None = None,
        *,
        source: str = "Dataset",
    ) -> None:
        entries = single_precision(entries, source)
        check_transitions(source, entries)
        entries = complete(entries)
        blocks, columns = pack(entries)
        episode = entries["episode"]
        info = replace(
            info or DatasetInfo(),
            transitions=len(episode),
            episodes=len(torch.unique_consecutive(episode).unique()),
            obs_dim=entries["observation"].shape[1],
            act_dim=entries["action"].shape[1],
        )
        self._assemble(blocks, columns, info)

    @classmethod
    def from_blocks(
        cls, blocks: Mapping[str, Tensor], columns: Sequence[Column], info: DatasetInfo
    ) -> Dataset:
        """A data set around blocks that were checked and counted before, without a copy."""
        dataset = cls.__new__(cls)
        dataset._assemble(blocks, columns, info)  # noqa: SLF001  (an instance of this class)
        return dataset

    def _assemble(
        self, blocks: Mapping[str, Tensor], columns: Sequence[Column], info: DatasetInfo
    ) -> None:
        self._blocks = dict(blocks)
        self._columns = tuple(columns)
        self._plan = [
            (self._blocks[name], [c.key for c in members], [c.width for c in members], members)
            for name, members in by_block(self._columns)
        ]
        self._device = next(iter(self._blocks.values())).device
        self.info = info

    # --- batches ---------------------------------------------------------------------------------

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> TensorDict:
        """A batch of rows drawn uniformly with replacement.

        Nothing is remembered between two calls: the state of ``generator`` (of torch's default
        one if there is none) determines the batch, and saving it is all that resuming needs.

        Args:
            batch_size: number of rows.
            generator: source of the indices, on any device; one on the CPU gives the same rows
                wherever the data lie.

        Raises:
            ConfigError: a batch size below 1.
        """
        require_at_least("Dataset.sample", "batch_size", batch_size, 1)
        device = self._device if generator is None else generator.device
        index = torch.randint(len(self), (batch_size,), generator=generator, device=device)
        return self.take(index)

    def take(self, index: Tensor) -> TensorDict:
        """The rows at ``index`` (int64 `[B]`), as a batch in TorchRL's layout.

        Example:
            >>> from flowpolicy.data import Dataset
            >>> import torch
            >>> flags = torch.zeros(3, 1, dtype=torch.bool)
            >>> rows = torch.arange(3.0).reshape(3, 1)
            >>> dataset = Dataset(
            ...     {
            ...         "observation": rows,
            ...         "action": rows / 2,
            ...         ("next", "reward"): rows,
            ...         ("next", "observation"): rows + 1,
            ...         ("next", "terminated"): flags,
            ...     }
            ... )
            >>> dataset.take(torch.tensor([2, 0]))["observation"].squeeze(-1)
            tensor([2., 0.])
        """
        # Into memory of the CPU, where nothing would wait for it, a copy has to be complete.
        index = index.to(self._device, non_blocking=self._device.type != "cpu")
        root: dict[str, Any] = {}
        nested: dict[str, dict[str, Tensor]] = {}
        for block, keys, widths, members in self._plan:
            parts = block.index_select(0, index).split(widths, dim=1)
            for key, part, column in zip(keys, parts, members, strict=True):
                values = part.squeeze(1) if column.flat else part
                if isinstance(key, tuple):
                    nested.setdefault(key[0], {})[key[1]] = values
                else:
                    root[key] = values
        size = index.shape
        for name, entries in nested.items():
            root[name] = TensorDict(entries, batch_size=size, device=self._device)
        return TensorDict(root, batch_size=size, device=self._device)

    # --- the whole -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return next(iter(self._blocks.values())).shape[0]

    def __repr__(self) -> str:
        return (
            f"Dataset({self.info.name!r}, origin={self.info.origin!r}, transitions={len(self)}, "
            f"episodes={self.info.episodes}, obs_dim={self.obs_dim}, act_dim={self.act_dim}, "
            f"device='{self._device}')"
        )

    @property
    def obs_dim(self) -> int:
        """Width `O` of an observation."""
        return self.info.obs_dim

    @property
    def act_dim(self) -> int:
        """Width `A` of an action, for action chunks `h A`."""
        return self.info.act_dim

    @property
    def device(self) -> torch.device:
        """Where the blocks lie."""
        return self._device

    @property
    def blocks(self) -> dict[str, Tensor]:
        """The packed storage by kind: ``real`` float32, ``flag`` bool, ``count`` int64."""
        return dict(self._blocks)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Which columns of which block hold which entry."""
        return self._columns

    def entries(self) -> dict[Key, Tensor]:
        """Every entry by key, as views of the blocks."""
        return {
            c.key: part.squeeze(1) if c.flat else part
            for block, _, widths, members in self._plan
            for c, part in zip(members, block.split(widths, dim=1), strict=True)
        }

    def as_tensordict(self) -> TensorDict:
        """All rows in TorchRL's episode layout, as views: writing into them writes into the data.

        The root's ``done``, ``terminated`` and ``truncated`` are False: every recorded action was
        taken from a state in which the trajectory went on.
        """
        size = torch.Size([len(self)])
        ongoing = torch.zeros(1, 1, dtype=torch.bool, device=self._device).expand(len(self), 1)
        layout = TensorDict(
            {"done": ongoing, "terminated": ongoing, "truncated": ongoing},
            batch_size=size,
            device=self._device,
        )
        layout["next"] = TensorDict(batch_size=size, device=self._device)
        for key, values in self.entries().items():
            layout[key] = values
        return layout

    def to_replay_buffer(self, batch_size: int | None = 256, **options: Any) -> ReplayBuffer:
        """A TorchRL replay buffer around the same storage, without a copy, that refuses writes.

        A plain :class:`torchrl.data.ReplayBuffer`, whose batches have the keys of
        :meth:`as_tensordict` and no ``index``, so that they can be joined with those of another
        buffer.

        Args:
            batch_size: rows per batch; ``None`` leaves it to each call of ``sample``.
            options: passed on, for instance ``sampler=SliceSampler(traj_key="episode", ...)``,
                ``transform`` or ``prefetch``.
        """
        from torchrl.data import ImmutableDatasetWriter, ReplayBuffer, TensorStorage

        options.setdefault("writer", ImmutableDatasetWriter())
        storage = TensorStorage(self.as_tensordict(), device="auto")
        return ReplayBuffer(storage=storage, batch_size=batch_size, **options)

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device; itself if it is there already."""
        target = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
        if target == self._device:
            return self
        blocks = {name: block.to(target) for name, block in self._blocks.items()}
        return Dataset.from_blocks(blocks, self._columns, self.info)

    @cached_property
    def observation_mean(self) -> Tensor:
        """Mean of every observation component, `[O]`."""
        return self.entries()["observation"].mean(dim=0, dtype=torch.float64).float()

    @cached_property
    def observation_std(self) -> Tensor:
        """Standard deviation of every observation component `[O]`; 1 where it is constant."""
        observation = self.entries()["observation"]
        mean = observation.mean(dim=0, dtype=torch.float64)
        square = torch.zeros_like(mean)
        for rows in observation.split(65_536):  # float64 of a piece, not of the whole
            square += (rows.double() - mean).square().sum(dim=0)
        std = (square / len(observation)).sqrt()
        return torch.where(std < 1e-6, 1.0, std).float()

    def fingerprint(self) -> str:
        """SHA-256 over names, shapes, dtypes and content; independent of paths and devices.

        Example:
            >>> from flowpolicy.data import Dataset
            >>> rows, flags = torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool)
            >>> entries = {
            ...     "observation": rows,
            ...     "action": rows,
            ...     ("next", "reward"): rows,
            ...     ("next", "observation"): rows,
            ...     ("next", "terminated"): flags,
            ... }
            >>> Dataset(entries).fingerprint() == Dataset(entries).fingerprint()
            True
        """
        digest = hashlib.sha256()
        for name, members in by_block(self._columns):
            block = self._blocks[name]
            described = [(c.key, c.width, c.flat) for c in members]
            digest.update(f"{name} {BLOCK_DTYPES[name]} {list(block.shape)} {described}".encode())
            for rows in block.split(65_536):
                digest.update(rows.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    # --- in and out ------------------------------------------------------------------------------

    @classmethod
    def from_tensordict(
        cls,
        data: TensorDictBase,
        *,
        info: DatasetInfo | None = None,
        action_low: Sequence[float] | float | None = None,
        action_high: Sequence[float] | float | None = None,
        extra: Iterable[Key] = (),
    ) -> Dataset:
        """A data set from a TensorDict in TorchRL's layout, one row per transition.

        Trajectories are told apart by ``episode``, else by the ids that TorchRL's collectors
        write, else they end where ``("next", "done")`` says so, or where one row in a hundred or
        fewer leads elsewhere than to the next. The values are copied.

        Args:
            data: batch size `[N]`; reshape `[E, T]` with ``data.reshape(-1)``.
            info: what is known about the data.
            action_low: what the environment calls its smallest action; with ``action_high`` given,
                actions are rescaled to [-1, 1], next actions among ``extra``, too.
            action_high: what the environment calls its largest action.
            extra: further entries to keep.

        Raises:
            MissingKeyError: an entry that every transition needs is not there.
            ShapeError: entries that do not fit each other.
            DataError: no rows, NaN, infinity, actions outside their bounds, or a name in ``extra``
                that is neither a text nor two.

        Example:
            >>> from tensordict import TensorDict
            >>> from flowpolicy.data import Dataset
            >>> after = TensorDict(
            ...     {
            ...         "observation": torch.ones(4, 3),
            ...         "reward": torch.zeros(4, 1),
            ...         "terminated": torch.zeros(4, 1, dtype=torch.bool),
            ...     },
            ...     batch_size=[4],
            ... )
            >>> data = TensorDict(
            ...     {
            ...         "observation": torch.zeros(4, 3),
            ...         "action": torch.full((4, 1), 2.0),
            ...         "next": after,
            ...     },
            ...     batch_size=[4],
            ... )
            >>> dataset = Dataset.from_tensordict(data, action_low=-2.0, action_high=2.0)
            >>> dataset.entries()["action"].squeeze(-1)
            tensor([1., 1., 1., 1.])
        """
        if not isinstance(data, TensorDictBase):
            raise DataError(
                f"Dataset.from_tensordict: data must be a TensorDict, got {type(data).__name__}. "
                "Pass a dict of tensors to Dataset(...) itself."
            )
        if data.batch_dims != 1:
            raise DataError(
                f"Dataset.from_tensordict: batch size must be [N], got {list(data.batch_size)}. "
                "Reshape the data with .reshape(-1)."
            )
        extra = tuple(extra)
        for key in extra:
            check_key("Dataset.from_tensordict", key)
        entries: dict[Key, Tensor] = {}
        for key in (*ORDER, *extra):
            inside = isinstance(key, str) or isinstance(data.get(key[0], None), TensorDictBase)
            values = data.get(key, None) if inside else None
            if isinstance(values, TensorDictBase):
                raise DataError(
                    f"Dataset.from_tensordict: {key!r} holds several entries "
                    f"({', '.join(sorted(map(str, values.keys())))}); one tensor [N, width] is "
                    "needed. Join them, for instance by torch.cat(..., dim=-1)."
                )
            if values is not None:
                entries[key] = values
            elif key in set(extra):
                raise MissingKeyError(f"Dataset.from_tensordict: no {key!r}, asked for by extra.")
        collected = data.get(("collector", "traj_ids"), None)
        if "episode" not in entries and collected is not None:
            entries["episode"] = collected.reshape(len(data))
        entries = single_precision(entries, "Dataset.from_tensordict")
        entries, info = rescaled(entries, info or DatasetInfo(), action_low, action_high)
        return cls(entries, info, source="Dataset.from_tensordict")

    @classmethod
    def concat(cls, datasets: Sequence[Dataset]) -> Dataset:
        """One data set from several of the same task, with episodes numbered on.

        Raises:
            DataError: nothing to join, or data that do not belong together: another environment,
                task or reward timing, other entries or widths, another number of steps.
        """
        from flowpolicy.data.joining import concat

        return concat(datasets)

    def save(self, path: str | Path) -> None:
        """Write the data set to one safetensors file that :meth:`open` maps into memory."""
        from flowpolicy.data.saved import save

        save(self, Path(path))

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """A saved data set, memory-mapped: rows are read from disk when they are drawn.

        Up to 64 MiB are compared with their SHA-256; ``flowpolicy verify`` does so with any file.

        Raises:
            DataError: the file is not there, damaged, or not one of :meth:`save`.
        """
        from flowpolicy.data.saved import open_saved

        return open_saved(Path(path))
