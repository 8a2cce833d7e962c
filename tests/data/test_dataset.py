"""A data set keeps rows together, shares its storage, and depends on nothing but its generator."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

from flowpolicy.data import Dataset, DatasetInfo
from flowpolicy.errors import ConfigError, DataError, MissingKeyError, ShapeError
from tests.data.conftest import transitions

KEYS = {
    "observation": ((2,), torch.float32),
    "action": ((1,), torch.float32),
    ("next", "observation"): ((2,), torch.float32),
    ("next", "reward"): ((1,), torch.float32),
    ("next", "terminated"): ((1,), torch.bool),
    ("next", "truncated"): ((1,), torch.bool),
    ("next", "done"): ((1,), torch.bool),
    "episode": ((), torch.int64),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(a: TensorDict, b: TensorDict) -> bool:
    return bool((a == b).all())


class TestSample:
    def test_has_the_keys_shapes_and_dtypes_of_a_transition(self, dataset):
        batch = dataset.sample(7)
        assert batch.batch_size == torch.Size([7])
        assert set(batch.keys(include_nested=True, leaves_only=True)) == set(KEYS)
        for key, (shape, dtype) in KEYS.items():
            assert batch[key].shape == (7, *shape), key
            assert batch[key].dtype == dtype, key

    def test_keeps_the_entries_of_a_row_together(self, dataset):
        source = transitions([5, 4, 6], successes={6})
        batch = dataset.sample(200, seeded(0))
        row = batch["observation"][:, 0].long()
        for key, values in source.items():
            assert torch.equal(batch[key], values[row]), key
        assert torch.equal(
            batch["next", "done"], batch["next", "terminated"] | batch["next", "truncated"]
        )

    def test_reaches_every_row(self, dataset):
        rows = dataset.sample(1000, seeded(0))["observation"][:, 0]
        counts = torch.bincount(rows.long(), minlength=len(dataset))
        # 1000 draws over 15 rows: mean 66.7, standard deviation 7.9
        assert counts.min() > 66.7 - 5 * 7.9
        assert counts.max() < 66.7 + 5 * 7.9

    def test_is_determined_by_the_generator(self, dataset):
        assert same(dataset.sample(64, seeded(1)), dataset.sample(64, seeded(1)))
        assert not torch.equal(
            dataset.sample(64, seeded(1))["observation"],
            dataset.sample(64, seeded(2))["observation"],
        )

    def test_resumes_from_the_state_of_the_generator(self, dataset):
        generator = seeded(3)
        dataset.sample(10, generator)
        state = generator.get_state()
        expected = [dataset.sample(10, generator) for _ in range(3)]
        again = torch.Generator()
        again.set_state(state)
        assert all(same(dataset.sample(10, again), batch) for batch in expected)

    def test_without_a_generator_uses_torchs_own(self, dataset):
        torch.manual_seed(5)
        first = dataset.sample(32)
        torch.manual_seed(5)
        assert same(dataset.sample(32), first)

    def test_does_not_give_away_the_storage(self, dataset):
        before = dataset.fingerprint()
        dataset.sample(8)["observation"].fill_(99.0)
        assert dataset.fingerprint() == before

    def test_refuses_an_empty_batch(self, dataset):
        with pytest.raises(ConfigError, match=r"Dataset.sample: batch_size must be at least 1"):
            dataset.sample(0)


class TestConstruction:
    def test_counts(self, dataset):
        assert (len(dataset), dataset.obs_dim, dataset.act_dim) == (15, 2, 1)
        assert dataset.info.transitions == 15
        assert dataset.info.episodes == 3
        assert dataset.device == torch.device("cpu")
        assert repr(dataset) == (
            "Dataset('unnamed', origin=None, transitions=15, episodes=3, obs_dim=2, act_dim=1, "
            "device='cpu')"
        )

    def test_an_episode_in_pieces_is_one(self):
        entries = transitions([6])
        entries["episode"] = torch.tensor([0, 1, 0, 1, 0, 1])
        assert Dataset(entries).info.episodes == 2

    @pytest.mark.parametrize("more", ["next", "info"])
    def test_refuses_a_tensor_where_others_lie_within(self, more):
        flat = torch.zeros(6, 1)
        entries = {**transitions([6]), ("info", "cost"): flat, more: flat}
        with pytest.raises(DataError, match=f"'{more}' is a tensor and the parent of"):
            Dataset(entries)

    def test_packs_contiguous_blocks(self, dataset):
        shapes = {name: tuple(block.shape) for name, block in dataset.blocks.items()}
        assert shapes == {"real": (15, 6), "flag": (15, 3), "count": (15, 1)}
        assert all(block.is_contiguous() for block in dataset.blocks.values())

    def test_converts_to_single_precision(self):
        entries = transitions([4])
        entries["observation"] = entries["observation"].double()
        assert Dataset(entries).entries()["observation"].dtype == torch.float32

    def test_derives_truncated_done_and_episode(self):
        entries = transitions([3, 2], successes={1})
        last = entries.pop(("next", "truncated"))
        del entries["episode"]
        entries["next", "done"] = last | entries["next", "terminated"]
        derived = Dataset(entries).entries()
        assert torch.equal(derived["next", "truncated"], last)
        # without an episode, the only boundary there is to go by is done
        assert derived["episode"].tolist() == [0, 0, 1, 2, 2]

    def test_to_the_same_device_is_itself(self, dataset):
        assert dataset.to("cpu") is dataset

    def test_to_another_device(self, dataset):
        moved = dataset.to("meta")
        assert moved.device.type == "meta"
        assert moved.columns == dataset.columns

    def test_statistics(self):
        entries = transitions([6])
        moved = Dataset(entries)
        expected = entries["observation"]
        assert torch.allclose(moved.observation_mean, expected.mean(dim=0))
        std = expected[:, 0].std(unbiased=False)
        assert torch.allclose(moved.observation_std, torch.stack([std, torch.tensor(1.0)]))

    @pytest.mark.parametrize("key", ["observation", "action", ("next", "observation")])
    def test_refuses_a_missing_entry(self, key):
        entries = transitions([4])
        del entries[key]
        with pytest.raises(MissingKeyError) as caught:
            Dataset(entries, source="mine")
        assert str(caught.value).startswith(f"mine: no {key!r}; a transition needs 'observation'")

    def test_refuses_a_missing_terminated(self):
        entries = transitions([4])
        del entries["next", "terminated"]
        with pytest.raises(MissingKeyError, match=r"no \('next', 'terminated'\); it tells whether"):
            Dataset(entries)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_refuses_what_is_not_finite_and_says_where(self, value):
        entries = transitions([4])
        entries["next", "reward"][2] = value
        with pytest.raises(
            DataError,
            match=r"Dataset: \('next', 'reward'\): 1 of 4 rows not finite, first at row 2 "
            rf"\(index \[2, 0\], value {value}\)\. Remove these rows",
        ):
            Dataset(entries)

    def test_refuses_an_overflow_of_single_precision(self):
        entries = transitions([4])
        entries["observation"] = entries["observation"].double() + 1e300
        with pytest.raises(
            DataError, match="'observation': 4 of 4 rows not finite, first at row 0"
        ):
            Dataset(entries)

    def test_refuses_actions_outside_the_box(self):
        entries = transitions([4])
        entries["action"][1], entries["action"][3] = -1.5, 1e6
        with pytest.raises(
            DataError,
            match=r"'action': 2 of 4 rows outside \[-1, 1\] \(largest magnitude 1e\+06, in row 3\)"
            r".*from_tensordict\(td, action_low=",
        ):
            Dataset(entries)

    def test_refuses_no_rows(self):
        entries = {key: values[:0] for key, values in transitions([4]).items()}
        with pytest.raises(DataError, match=r"Dataset: the data set is empty \(0 rows\)"):
            Dataset(entries)

    @pytest.mark.parametrize(
        ("key", "values", "message"),
        [
            (
                "action",
                torch.zeros(3, 1),
                r"'action' must be \[N, width\] with N = 4, got \[3, 1\]",
            ),
            ("action", torch.zeros(4), r"'action' must be \[N, width\] with N = 4, got \[4\]"),
            (("next", "reward"), torch.zeros(4), r"must be \[N, 1\] with N = 4, got \[4\]"),
            (
                ("next", "truncated"),
                torch.zeros(4, dtype=torch.bool),
                r"\('next', 'truncated'\) must be \[N, 1\] with N = 4, got \[4\]",
            ),
            (
                ("next", "terminated"),
                torch.zeros(3, 1, dtype=torch.bool),
                r"\('next', 'terminated'\) must be \[N, 1\] with N = 4, got \[3, 1\]",
            ),
            (("next", "reward"), torch.zeros(4, 2), r"must be \[N, 1\] with N = 4, got \[4, 2\]"),
            ("episode", torch.zeros(4, 1), r"'episode' must be \[N\] with N = 4, got \[4, 1\]"),
            (
                ("next", "observation"),
                torch.zeros(4, 3),
                r"\[4, 3\] but 'observation' has \[4, 2\]",
            ),
        ],
    )
    def test_refuses_shapes_that_do_not_fit(self, key, values, message):
        with pytest.raises(ShapeError, match=message):
            Dataset({**transitions([4]), key: values})

    @pytest.mark.parametrize(
        ("key", "values", "message"),
        [
            (
                "action",
                torch.zeros(4, 1, dtype=torch.int32),
                "'action' has dtype torch.int32; float",
            ),
            (
                "observation",
                torch.zeros(4, 2, dtype=torch.complex64),
                "'observation' has dtype torch.complex64; real numbers",
            ),
            (("next", "terminated"), torch.zeros(4, 1), "must be boolean, got torch.float32"),
        ],
    )
    def test_refuses_dtypes_that_do_not_fit(self, key, values, message):
        with pytest.raises(DataError, match=message):
            Dataset({**transitions([4]), key: values})


class TestViews:
    def test_the_tensordict_shares_the_storage(self, dataset):
        data = dataset.as_tensordict()
        storages = {block.untyped_storage().data_ptr() for block in dataset.blocks.values()}
        for key in KEYS:
            assert data[key].untyped_storage().data_ptr() in storages, key
        data["observation"][3, 1] = 42.0
        assert dataset.entries()["observation"][3, 1] == 42.0

    def test_the_buffer_draws_where_the_data_lie(self, dataset):
        """With a generator of another device TorchRL's sampler fails."""
        there = dataset.to("meta").to_replay_buffer()
        assert there.storage.device.type == "meta"

    def test_the_tensordict_has_torchrls_layout(self, dataset):
        data = dataset.as_tensordict()
        root = dict.fromkeys(("done", "terminated", "truncated"), ((1,), torch.bool))
        assert set(data.keys(include_nested=True, leaves_only=True)) == {*KEYS, *root}
        for key, (shape, dtype) in {**KEYS, **root}.items():
            assert data[key].shape == (15, *shape), key
            assert data[key].dtype == dtype, key
        assert not data["done"].any()

    def test_round_trip_through_a_tensordict(self, dataset):
        again = Dataset.from_tensordict(dataset.as_tensordict(), info=dataset.info)
        assert again.fingerprint() == dataset.fingerprint()
        assert again.info == dataset.info


class TestFromTensordict:
    def data(self, **changes) -> TensorDict:
        return Dataset(transitions([3, 3])).as_tensordict().clone().update(changes)

    def test_copies(self):
        data = self.data()
        dataset = Dataset.from_tensordict(data)
        data["observation"].zero_()
        assert dataset.entries()["observation"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]

    def test_rescales_actions_and_remembers_the_bounds(self):
        action = torch.tensor([[0.0], [5.0], [10.0], [2.5], [7.5], [0.0]])
        dataset = Dataset.from_tensordict(self.data(action=action), action_low=0, action_high=[10])
        assert dataset.entries()["action"].squeeze(1).tolist() == [-1, 0, 1, -0.5, 0.5, -1]
        assert (dataset.info.action_low, dataset.info.action_high) == ((0.0,), (10.0,))

    def test_keeps_extra_entries(self):
        extra = torch.arange(12.0).reshape(6, 2)
        dataset = Dataset.from_tensordict(self.data(embedding=extra), extra=["embedding"])
        assert torch.equal(dataset.entries()["embedding"], extra)
        assert "embedding" in dataset.sample(2).keys()  # noqa: SIM118  (a TensorDict)

    def test_tells_trajectories_apart_as_collectors_do(self):
        data = self.data().exclude("episode").reshape(2, 3)  # two environments, none done
        data["next", "done"][:], data["next", "truncated"][:] = False, False
        data["collector", "traj_ids"] = torch.tensor([[0, 0, 0], [1, 1, 1]])
        dataset = Dataset.from_tensordict(data.reshape(-1))
        assert dataset.entries()["episode"].tolist() == [0, 0, 0, 1, 1, 1]
        assert dataset.info.episodes == 2

    def test_takes_memory_mapped_data(self, tmp_path):
        data = self.data()
        dataset = Dataset.from_tensordict(data.memmap(tmp_path))
        assert dataset.fingerprint() == Dataset.from_tensordict(data).fingerprint()
        assert all(type(block) is torch.Tensor for block in dataset.blocks.values())

    def test_leaves_other_entries_out(self):
        dataset = Dataset.from_tensordict(self.data(embedding=torch.zeros(6, 2)))
        assert "embedding" not in dataset.entries()

    def test_keeps_extra_entries_where_they_were(self):
        data = self.data(info=TensorDict(reward=torch.full((6, 1), -1.0), batch_size=[6]))
        dataset = Dataset.from_tensordict(data, extra=[("info", "reward")])
        for batch in (dataset.take(torch.arange(6)), dataset.as_tensordict()):
            assert torch.equal(batch["info", "reward"], data["info", "reward"])
            assert torch.equal(batch["next", "reward"], data["next", "reward"])

    @pytest.mark.parametrize("key", [("a", "b", "c"), ("a", 3), ["next", "cost"], 3, "", ()])
    def test_refuses_what_names_no_entry(self, key):
        told = f"{re.escape(repr(key))} names no entry; give the name of one in the root, or two"
        with pytest.raises(DataError, match=f"^Dataset.from_tensordict: {told}"):
            Dataset.from_tensordict(self.data(), extra=[key])

    def test_refuses_extras_within_a_tensor(self):
        with pytest.raises(MissingKeyError, match=r"no \('observation', 'x'\), asked for by extra"):
            Dataset.from_tensordict(self.data(), extra=[("observation", "x")])

    def test_refuses_what_is_no_tensordict(self):
        with pytest.raises(
            DataError, match=r"data must be a TensorDict, got dict\. Pass a dict of"
        ):
            Dataset.from_tensordict(transitions([4]))

    def test_rescales_next_actions_like_actions(self):
        data = self.data()
        data["next", "action"] = data["action"].roll(-1, 0) * 2
        data["action"] = data["action"] * 2
        entries = Dataset.from_tensordict(
            data, action_low=-2.0, action_high=2.0, extra=[("next", "action")]
        ).entries()
        assert torch.equal(entries["next", "action"][:-1], entries["action"][1:])

    def test_refuses_a_missing_extra(self):
        with pytest.raises(MissingKeyError, match="no 'weight', asked for by extra"):
            Dataset.from_tensordict(self.data(), extra=["weight"])

    def test_refuses_trajectories_side_by_side(self):
        with pytest.raises(
            DataError, match=r"batch size must be \[N\], got \[2, 3\].*reshape\(-1\)"
        ):
            Dataset.from_tensordict(self.data().reshape(2, 3))

    def test_refuses_half_of_the_bounds(self):
        with pytest.raises(
            DataError, match="action_low and action_high belong together; give both"
        ):
            Dataset.from_tensordict(self.data(), action_low=-2.0)

    @pytest.mark.parametrize(
        ("low", "high", "message"),
        [
            (1.0, 1.0, r"action_low must be below action_high, got \[1.0\] and \[1.0\]"),
            ([0.0, 0.0], 1.0, r"action_low must be one finite number or 1, one per action comp"),
            (-1.0, float("inf"), r"action_high must be one finite number"),
            (0.0, 0.5, r"2 of 6 rows outside the bounds \[0.0\] to \[0.5\], first at row 4"),
        ],
    )
    def test_refuses_bounds_that_cannot_be(self, low, high, message):
        with pytest.raises(DataError, match=message):
            Dataset.from_tensordict(self.data(), action_low=low, action_high=high)


class TestConcat:
    def make(self, **info) -> Dataset:
        return Dataset(transitions([3, 2]), DatasetInfo(**{"name": "a", **info}))

    def test_numbers_episodes_on_and_keeps_rows(self):
        joined = Dataset.concat(
            [self.make(files={"a": "1"}), self.make(name="b", files={"b": "2"})]
        )
        assert len(joined) == 10
        assert joined.entries()["episode"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
        assert joined.info.name == "a + b"
        assert joined.info.files == {"a": "1", "b": "2"}
        assert joined.info.episodes == 4
        assert joined.entries()["observation"][:, 0].tolist() == [0, 1, 2, 3, 4] * 2

    def test_leaves_its_parts_as_they_were(self):
        part = self.make()
        before = part.fingerprint()
        Dataset.concat([part, part])
        assert part.fingerprint() == before

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"success_timing": "post"},
                "'a' has rewards of timing 'pre' but 'a' of 'post'; a value function cannot fit",
            ),
            ({"env_id": "other"}, "'a' has the rewards of None but 'a' those of other"),
            ({"n_step": 3, "discount": 0.9}, "n_step=1, discount=None but 'a' n_step=3"),
            ({"action_low": (0.0,), "action_high": (1.0,)}, "rescaled from different bounds"),
        ],
    )
    def test_refuses_rows_that_mean_something_else(self, change, message):
        first = self.make(success_timing="pre")
        with pytest.raises(DataError, match=message):
            Dataset.concat([first, self.make(**{"success_timing": "pre", **change})])

    def test_bounds_are_those_of_single_precision(self):
        double, single = ((-b,) for b in (0.4, float(torch.tensor(0.4))))
        parts = [self.make(action_low=low, action_high=(0.4,)) for low in (double, single)]
        assert Dataset.concat(parts).info.action_low == double

    def test_knows_every_file_and_no_version_where_there_are_two(self):
        parts = [
            self.make(files={"a.npz": sha}, ogbench_version=version)
            for sha, version in (("1" * 64, "1.1"), ("2" * 64, "1.2"), ("1" * 64, "1.1"))
        ]
        info = Dataset.concat(parts).info
        assert info.files == {"a.npz": "1" * 64, "a.npz (22222222)": "2" * 64}
        assert info.ogbench_version is None
        assert Dataset.concat([parts[0], parts[2]]).info.ogbench_version == "1.1"

    def test_refuses_other_widths(self):
        entries = transitions([2])
        entries["action"] = torch.zeros(2, 2)
        with pytest.raises(DataError, match=r"has the entries 'observation' \[2\], 'action' \[1\]"):
            Dataset.concat([self.make(), Dataset(entries, DatasetInfo(name="b"))])

    def test_refuses_nothing(self):
        with pytest.raises(DataError, match="no data set given"):
            Dataset.concat([])


class TestFingerprint:
    def test_depends_on_every_value_and_name(self, dataset):
        entries = dataset.entries()
        base = dataset.fingerprint()
        del entries["next", "done"]  # follows from the other two
        for key in KEYS:
            if key not in entries:
                continue
            values = entries[key].clone()
            values[0] = ~values[0] if values.dtype == torch.bool else values[0] + 0.5
            if key == "episode":
                values[0] += 7
            assert Dataset({**entries, key: values}).fingerprint() != base, key
        renamed = {("hint" if k == "episode" else k): v for k, v in entries.items()}
        assert Dataset(renamed).fingerprint() != base

    def test_does_not_depend_on_the_record(self, dataset):
        again = Dataset(dataset.entries(), DatasetInfo(name="another", files={"x": "y"}))
        assert again.fingerprint() == dataset.fingerprint()


class TestSaved:
    def test_comes_back_as_it_was(self, dataset, tmp_path: Path):
        path = tmp_path / "folder" / "set.safetensors"
        dataset.save(path)
        opened = Dataset.open(path)
        assert opened.fingerprint() == dataset.fingerprint()
        assert opened.info == dataset.info
        assert same(opened.sample(6, seeded(0)), dataset.sample(6, seeded(0)))
        assert [entry.name for entry in path.parent.iterdir()] == ["set.safetensors"]

    def test_a_write_that_fails_leaves_nothing_behind(self, dataset, tmp_path: Path):
        path = tmp_path / "set.safetensors"
        path.mkdir()  # no file can take its place
        with pytest.raises(OSError, match=r"set\.safetensors"):
            dataset.save(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["set.safetensors"]

    def test_is_mapped_not_read(self, tmp_path: Path):
        path = tmp_path / "set.safetensors"
        Dataset(transitions([20_000])).save(path)
        opened = Dataset.open(path)
        maps = Path("/proc/self/maps")
        if not maps.exists():
            pytest.skip("memory maps are listed on Linux only")
        assert str(path) in maps.read_text()
        assert len(opened) == 20_000

    def test_writing_into_it_leaves_the_file_alone(self, dataset, tmp_path: Path):
        path = tmp_path / "set.safetensors"
        dataset.save(path)
        Dataset.open(path).as_tensordict()["observation"].zero_()
        assert Dataset.open(path).fingerprint() == dataset.fingerprint()

    def test_refuses_what_is_not_there(self, tmp_path: Path):
        with pytest.raises(DataError, match=r"none.safetensors: no such file. Write one with"):
            Dataset.open(tmp_path / "none.safetensors")

    def test_refuses_a_cut_file(self, dataset, tmp_path: Path):
        path = tmp_path / "set.safetensors"
        dataset.save(path)
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(DataError, match="not a readable safetensors file"):
            Dataset.open(path)

    def test_refuses_another_kind_of_file(self, tmp_path: Path):
        from safetensors.torch import save_file

        path = tmp_path / "weights.safetensors"
        save_file({"weight": torch.zeros(2)}, path)
        with pytest.raises(DataError, match=r"not a saved data set \(format None, expected"):
            Dataset.open(path)

    def test_refuses_blocks_that_contradict_their_columns(self, dataset, tmp_path: Path):
        from safetensors.torch import load_file, save_file

        path = tmp_path / "set.safetensors"
        dataset.save(path)
        blocks = load_file(path)
        columns = [asdict(column) for column in dataset.columns]
        info = {**dataset.info.to_dict(), "obs_dim": 3}
        for width, message in (
            (2, r"its description is damaged \(widths that contradict each other\)\. Write the"),
            (3, r"block 'real' is torch.float32 \[15, 6\], .*\(\[15, 7\]\)"),
            (-3, r"its description is damaged \(columns that lie on each other\)"),
            (None, r"its description is damaged \(no column 'observation'\)"),
        ):
            columns[0]["width"] = width
            kept = columns if width else columns[1:]
            texts = {"columns": json.dumps(kept), "info": json.dumps(info)}
            save_file(blocks, path, metadata={"format": "flowpolicy-dataset-1", **texts})
            with pytest.raises(DataError, match=message):
                Dataset.open(path)


class TestInfo:
    def test_is_plain_json(self):
        info = DatasetInfo(name="x", action_low=(0.0, 1.0), files={"a": "b"}, success_timing="pre")
        assert DatasetInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info

    def test_refuses_entries_of_another_version(self):
        with pytest.raises(DataError, match=r"unknown entries \['colour'\]"):
            DatasetInfo.from_dict({"name": "x", "colour": "red"})


def test_sampling_costs_less_than_a_replay_buffer():
    """A ratio of minima over short turns, because disturbance only ever adds."""
    dataset = Dataset(transitions([1000] * 100))
    buffer = dataset.to_replay_buffer(batch_size=256)

    def best(call) -> float:
        times = []
        for _ in range(200):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    ours, theirs = best(lambda: dataset.sample(256)), best(buffer.sample)
    assert ours < 0.8 * theirs, f"{ours * 1e6:.0f} us against {theirs * 1e6:.0f} us"
