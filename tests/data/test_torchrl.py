"""TorchRL's own machinery takes the data as it takes its own data sets."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torchrl.data import ReplayBuffer, SliceSampler
from torchrl.data.datasets import BaseDatasetExperienceReplay, load_dataset
from torchrl.data.replay_buffers import OfflineToOnlineReplayBuffer

from flowpolicy.data import Dataset, available, load
from flowpolicy.data.torchrl_dataset import OGBenchExperienceReplay
from flowpolicy.errors import ConfigError, DataError
from tests.data.conftest import MAZE, MAZE_FILE, STEPS, transitions

LAYOUT = {
    "observation": ((2,), torch.float32),
    "action": ((2,), torch.float32),
    "done": ((1,), torch.bool),
    "terminated": ((1,), torch.bool),
    "truncated": ((1,), torch.bool),
    ("next", "observation"): ((2,), torch.float32),
    ("next", "reward"): ((1,), torch.float32),
    ("next", "done"): ((1,), torch.bool),
    ("next", "terminated"): ((1,), torch.bool),
    ("next", "truncated"): ((1,), torch.bool),
    "episode": ((), torch.int64),
}


class TestReplayBuffer:
    def test_shares_the_storage(self, dataset):
        buffer = dataset.to_replay_buffer(batch_size=5)
        storages = {block.untyped_storage().data_ptr() for block in dataset.blocks.values()}
        whole = buffer.storage._storage
        assert whole["observation"].untyped_storage().data_ptr() in storages
        assert whole["next", "done"].untyped_storage().data_ptr() in storages
        assert len(buffer) == len(dataset)

    def test_samples_rows(self, dataset):
        batch = dataset.to_replay_buffer(batch_size=64).sample()
        assert batch.batch_size == torch.Size([64])
        row = batch["observation"][:, 0].long()
        for key, values in dataset.entries().items():
            assert torch.equal(batch[key], values[row]), key

    def test_refuses_writes(self, dataset):
        buffer = dataset.to_replay_buffer()
        before = dataset.fingerprint()
        with pytest.raises(RuntimeError, match="This dataset doesn't allow writing"):
            buffer.extend(dataset.as_tensordict()[:3])
        assert dataset.fingerprint() == before

    def test_mixes_with_an_online_buffer(self, dataset):
        mixed = OfflineToOnlineReplayBuffer(
            dataset.to_replay_buffer(batch_size=None),
            online_capacity=100,
            offline_fraction=0.5,
            batch_size=8,
        )
        online = dataset.as_tensordict().clone()
        online["observation"] += 1000
        mixed.extend(online)
        rows = mixed.sample()["observation"][:, 0]
        assert int((rows < 1000).sum()) == 4

    def test_slices_are_cut_by_episode_not_by_success(self):
        lengths = [6, 7, 8]
        dataset = Dataset(transitions(lengths, successes={2, 9, 16}))
        buffer = dataset.to_replay_buffer(
            batch_size=400, sampler=SliceSampler(slice_len=4, traj_key="episode")
        )
        slices = buffer.sample().reshape(100, 4)
        rows = slices["observation"][..., 0]
        assert bool((rows.diff(dim=1) == 1).all())
        assert bool((slices["episode"] == slices["episode"][:, :1]).all())
        starts = set(rows[:, 0].int().tolist())
        assert starts == {0, 1, 2, 6, 7, 8, 9, 13, 14, 15, 16, 17}  # successes do not matter


class TestDatasetClass:
    def test_is_reached_by_torchrls_prefix(self, maze_file):
        root = maze_file()
        replay = load_dataset(f"ogbench:{MAZE}", root=root, batch_size=16)
        assert isinstance(replay, OGBenchExperienceReplay)
        assert isinstance(replay, BaseDatasetExperienceReplay)
        batch = replay.sample()
        for key, (shape, dtype) in LAYOUT.items():
            assert batch[key].shape == (16, *shape), key
            assert batch[key].dtype == dtype, key
        assert len(replay) == len(load(MAZE, root))
        assert replay._is_downloaded()

    def test_whole_content_is_that_of_load(self, maze_file):
        root = maze_file()
        replay = OGBenchExperienceReplay(MAZE, root=root, batch_size=4)
        expected = load(MAZE, root).as_tensordict()
        whole = replay[:]
        for key in LAYOUT:
            assert torch.equal(whole[key], expected[key]), key

    def test_slices_cross_successes_but_no_trajectory(self, maze_file):
        length = STEPS // 2
        replay = load_dataset(
            f"ogbench:{MAZE}",
            root=maze_file(),
            batch_size=200 * length,
            sampler=SliceSampler(slice_len=length, traj_key="episode"),
        )
        slices = replay.sample().reshape(200, length)
        assert bool((slices["episode"] == slices["episode"][:, :1]).all())
        inside = slices["next", "terminated"][:, :-1, 0]
        assert bool(inside.any())
        joints = slices["next", "observation"][:, :-1] == slices["observation"][:, 1:]
        assert bool(joints.all())

    def test_refuses_writes(self, maze_file):
        replay = OGBenchExperienceReplay(MAZE, root=maze_file(), batch_size=4)
        with pytest.raises(RuntimeError, match="This dataset doesn't allow writing"):
            replay.extend(replay[:3])

    def test_other_split_and_timing(self, maze_file):
        root = maze_file()
        maze_file(split="val")
        replay = OGBenchExperienceReplay(MAZE, root=root, split="val", success_timing="post")
        assert replay.dataset.info.split == "val"
        assert replay.dataset.info.success_timing == "post"

    def test_converts_once_to_a_mapped_file(self, maze_file, monkeypatch):
        root = maze_file()
        first = OGBenchExperienceReplay(MAZE, root=root, memmap=True)
        converted = root / "flowpolicy" / MAZE / "train-pre" / "dataset.safetensors"
        assert first.data_path == converted.parent
        assert str(converted) in Path("/proc/self/maps").read_text()
        assert first.dataset.fingerprint() == load(MAZE, root).fingerprint()
        stamp = converted.stat().st_mtime_ns
        again = OGBenchExperienceReplay(MAZE, root=root, memmap=True, batch_size=3)
        assert converted.stat().st_mtime_ns == stamp
        assert again.sample().batch_size == torch.Size([3])

    def test_converts_again_when_the_file_has_changed(self, maze_file, maze_arrays):
        root = maze_file()
        OGBenchExperienceReplay(MAZE, root=root, memmap=True)
        maze_file(actions=maze_arrays["actions"] / 2)
        again = OGBenchExperienceReplay(MAZE, root=root, memmap=True)
        assert again.dataset.fingerprint() == load(MAZE, root).fingerprint()

    def test_converts_again_when_another_ogbench_computes_the_rewards(self, maze_file):
        root = maze_file()
        mapped = OGBenchExperienceReplay(MAZE, root=root, memmap=True)
        converted = mapped.data_path / "dataset.safetensors"
        info = replace(mapped.dataset.info, ogbench_version="0.9")
        Dataset.from_blocks(mapped.dataset.blocks, mapped.dataset.columns, info).save(converted)
        again = OGBenchExperienceReplay(MAZE, root=root, memmap=True)
        assert again.dataset.info.ogbench_version == version("ogbench")

    def test_delete_removes_what_was_converted_only(self, maze_file):
        root = maze_file()
        replay = OGBenchExperienceReplay(MAZE, root=root, memmap=True)
        replay.delete()
        assert not replay.data_path.exists()
        assert (root / MAZE_FILE).is_file()
        with pytest.raises(
            DataError, match=r"no converted data in .*; only data loaded with memmap"
        ):
            replay.delete()

    def test_lists_what_there_is(self):
        assert OGBenchExperienceReplay.available_datasets == available()

    def test_refuses_unknown_names(self):
        with pytest.raises(ConfigError, match="unknown data set 'cube-singel-play-singletask-v0'"):
            load_dataset("ogbench:cube-singel-play-singletask-v0")


def test_importing_the_package_imports_no_simulator():
    # MuJoCo is not in the list because TorchRL itself imports it where it is installed
    code = (
        "import sys, flowpolicy.data\n"
        "from torchrl.data.datasets.utils import _DATASET_REGISTRY as known\n"
        "assert known['ogbench'].startswith('flowpolicy.data.'), known\n"
        "loaded = {'ogbench', 'dm_control', 'gymnasium'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_plain_buffer_is_handed_out(dataset):
    assert type(dataset.to_replay_buffer()) is ReplayBuffer
