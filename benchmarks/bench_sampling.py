"""What a batch costs, beside plain indexing and beside a TorchRL replay buffer."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from benchmarks.problem import BATCH, random_dataset
from flowpolicy.data import Dataset

ROWS = 1_000_000


@pytest.mark.parametrize("batch", [BATCH])
def test_sampling(batch, in_turn, quick, tmp_path) -> None:
    """One batch of a million rows, indices drawn anew."""
    dataset = random_dataset(10_000 if quick else ROWS)
    drawn = list(dataset.sample(1).keys(include_nested=True, leaves_only=True))
    # One tensor per entry, as a TensorDict usually is; the same entries for all.
    separate = dataset.as_tensordict().select(*drawn).clone()
    columns = {key: separate.get(key) for key in drawn}
    path = tmp_path / "dataset.safetensors"
    dataset.save(path)

    def rows():
        return torch.randint(len(dataset), (batch,))

    def plain():
        index = rows()
        return {key: column[index] for key, column in columns.items()}

    def index_select():
        index = rows()
        return {key: column.index_select(0, index) for key, column in columns.items()}

    in_turn(
        {
            "Dataset.sample": partial(dataset.sample, batch),
            "tensor[index] of each entry": plain,
            "index_select of each entry": index_select,
            "Dataset.sample, mapped file": partial(Dataset.open(path).sample, batch),
            "TensorDict[index]": lambda: separate[rows()],
            "TorchRL ReplayBuffer.sample": dataset.to_replay_buffer(batch).sample,
        },
        targets={"tensor[index] of each entry": 1.3},
    )
