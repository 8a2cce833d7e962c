"""One data set from several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.info import DatasetInfo
from flowpolicy.errors import DataError


def concat(datasets: Sequence[Dataset]) -> Dataset:
    """Join data sets of the same task; see :meth:`Dataset.concat`."""
    if not datasets:
        raise DataError("Dataset.concat: no data set given.")
    first = datasets[0]
    for other in datasets[1:]:
        require_joinable(first, other)
    blocks = {
        name: torch.cat([dataset.blocks[name].to(first.device) for dataset in datasets])
        for name in first.blocks
    }
    names = list(dict.fromkeys(dataset.info.name for dataset in datasets))
    splits = list(dict.fromkeys(dataset.info.split for dataset in datasets))
    origins = {dataset.info.origin for dataset in datasets}
    files: dict[str, str] = {}
    for name, sha in (file for dataset in datasets for file in dataset.info.files.items()):
        files[name if files.get(name, sha) == sha else f"{name} ({sha[:8]})"] = sha
    versions = {dataset.info.ogbench_version for dataset in datasets}
    info = replace(
        first.info,
        name=" + ".join(names),
        split=splits[0] if len(splits) == 1 else None,
        origin=first.info.origin if len(origins) == 1 else None,
        ogbench_version=first.info.ogbench_version if len(versions) == 1 else None,
        files=files,
        transitions=sum(len(dataset) for dataset in datasets),
        episodes=sum(dataset.info.episodes for dataset in datasets),
    )
    joined = Dataset.from_blocks(blocks, first.columns, info)
    episode, begin, offset = joined.entries()["episode"], 0, 0
    for dataset in datasets:
        rows = episode[begin : begin + len(dataset)]
        rows += offset - rows.min()
        offset = int(rows.max()) + 1
        begin += len(dataset)
    return joined


def require_joinable(first: Dataset, other: Dataset) -> None:
    """Refuse data sets whose rows do not mean the same."""
    a, b = first.info, other.info
    if a.success_timing != b.success_timing:
        raise DataError(
            f"Dataset.concat: {a.name!r} has rewards of timing {a.success_timing!r} but {b.name!r} "
            f"of {b.success_timing!r}; a value function cannot fit both. "
            "Load both with the same success_timing."
        )
    if (a.env_id, a.task) != (b.env_id, b.task):
        raise DataError(
            f"Dataset.concat: {a.name!r} has the rewards of {a.env_id} but {b.name!r} those of "
            f"{b.env_id}. Load both for the same task."
        )
    for window in ("n_step", "horizon"):
        one, two = ((getattr(info, window), info.discount) for info in (a, b))
        if one != two:
            raise DataError(
                f"Dataset.concat: {a.name!r} has {window}={one[0]}, discount={one[1]} but "
                f"{b.name!r} {window}={two[0]}, discount={two[1]}. Join first, transform after."
            )
    if bounds(a) != bounds(b):
        raise DataError(
            f"Dataset.concat: the actions of {a.name!r} and {b.name!r} were rescaled from "
            "different bounds. Rescale both with the same."
        )
    if first.columns != other.columns:
        raise DataError(
            f"Dataset.concat: {a.name!r} has the entries {describe(first)} but {b.name!r} "
            f"{describe(other)}. Keep the same entries of the same widths in both."
        )


def bounds(info: DatasetInfo) -> list[list[float]] | None:
    """What -1 and 1 meant, in single precision, which the actions have."""
    if info.action_low is None or info.action_high is None:
        return None
    ends: list[list[float]] = torch.tensor([info.action_low, info.action_high]).tolist()
    return ends


def describe(dataset: Dataset) -> str:
    """The entries of a data set with their widths."""
    return ", ".join(f"{column.key!r} [{column.width}]" for column in dataset.columns)
