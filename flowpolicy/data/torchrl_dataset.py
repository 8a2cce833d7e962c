"""OGBench data sets as TorchRL's other data sets are: ``load_dataset("ogbench:<name>")``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from torchrl.data import ImmutableDatasetWriter, TensorStorage
from torchrl.data.datasets import BaseDatasetExperienceReplay

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.info import SuccessTiming
from flowpolicy.data.locate import EMBEDDED, default_root, find_file
from flowpolicy.data.names import DatasetName, available
from flowpolicy.data.ogbench import Split, load
from flowpolicy.errors import DataError


class AvailableDatasets:
    """The class attribute that TorchRL's data sets have; OGBench is asked when it is read."""

    def __get__(self, instance: object, owner: type | None = None) -> list[str]:
        return available()


class OGBenchExperienceReplay(BaseDatasetExperienceReplay):
    """An OGBench single-task data set behind TorchRL's replay buffer interface.

    Rows are transitions in TorchRL's episode layout. A success sets ``("next", "done")`` in the
    middle of a trajectory that goes on after it, so cut slices by ``episode``:
    ``sampler=SliceSampler(traj_key="episode", ...)``.

    Args:
        dataset_id: such as ``cube-single-play-singletask-task2-v0``.
        batch_size: rows per batch.
        root: the folder with OGBench's files; looked for as in :func:`flowpolicy.data.load`.
        split: ``"train"`` or ``"val"``.
        success_timing: as in :func:`flowpolicy.data.load`.
        download: fetch missing files.
        memmap: convert the data once to a file beside OGBench's and map it into memory, in place of
            holding the data there.
        options: passed to :class:`torchrl.data.TensorDictReplayBuffer`: ``sampler``,
            ``transform``, ``prefetch``, ...

    Raises:
        ConfigError: an unknown name, split or timing.
        DataError: files that are missing, damaged, or belong to another environment.

    Example:
        >>> from torchrl.data.datasets import load_dataset
        >>> replay = load_dataset("ogbench:pointmaze-medium-navigate-singletask-v0", batch_size=8)
        >>> replay.sample()["next", "reward"].shape
        torch.Size([8, 1])
    """

    available_datasets = AvailableDatasets()

    def __init__(
        self,
        dataset_id: str,
        batch_size: int | None = None,
        *,
        root: str | Path | None = None,
        split: Split = "train",
        success_timing: SuccessTiming = "pre",
        download: bool = True,
        memmap: bool = False,
        **options: Any,
    ) -> None:
        self.dataset_id = dataset_id
        self._name = DatasetName.parse(dataset_id)
        self._name.require_known()
        self._split: Split = split
        self._timing: SuccessTiming = success_timing
        source = find_file(self._name, split, root, download=download)
        self.root = source.parent
        self.dataset = self._mapped(source) if memmap else self._load(source)
        options.setdefault("writer", ImmutableDatasetWriter())
        storage = TensorStorage(self.dataset.as_tensordict(), device="auto")
        super().__init__(storage=storage, batch_size=batch_size, **options)

    @property
    def data_path_root(self) -> Path:
        """The folder for converted data, beside OGBench's files."""
        base = default_root() if self.root == EMBEDDED else self.root
        return Path(base) / "flowpolicy" / self.dataset_id

    @property
    def data_path(self) -> Path:
        """The folder of this split and timing; :meth:`delete` removes it."""
        return self.data_path_root / f"{self._split}-{self._timing}"

    def _is_downloaded(self) -> bool:
        return (Path(self.root) / self._name.file(self._split)).is_file()

    def _load(self, source: Path) -> Dataset:
        return load(
            self.dataset_id,
            source.parent,
            split=self._split,
            success_timing=self._timing,
            download=False,
        )

    def _mapped(self, source: Path) -> Dataset:
        from flowpolicy.data.npz import sha256

        converted = self.data_path / "dataset.safetensors"
        if converted.is_file():
            try:
                dataset = Dataset.open(converted)
            except DataError as error:
                raise DataError(f"{error} Or remove it to have it made anew.") from error
            relabelled = dataset.info.ogbench_version == version("ogbench")
            if relabelled and dataset.info.files == {source.name: sha256(source)}:
                return dataset
        self._load(source).save(converted)
        return Dataset.open(converted)

    def delete(self) -> None:
        """Remove the converted data; OGBench's own files stay.

        Raises:
            DataError: nothing was converted.
        """
        if not self.data_path.is_dir():
            raise DataError(
                f"{self.dataset_id}: no converted data in {self.data_path}; "
                "only data loaded with memmap=True are converted."
            )
        super().delete()
