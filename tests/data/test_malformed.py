"""Every malformed input by every way into the library: refused in words that say what to do.

Files of OGBench's layout have more rows in ``test_ogbench.py``, broken archives in ``test_npz.py``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer

import flowpolicy as fp
from flowpolicy.data import Dataset, DatasetInfo, load, transforms
from flowpolicy.data.validation import check_transitions
from flowpolicy.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DtypeError,
    FlowPolicyError,
    MissingKeyError,
    ShapeError,
)
from flowpolicy.train.experience import PooledExperience
from tests.data.conftest import MAZE, MAZE_FILE, transitions

ROWS = 6
NEXT = {name: ("next", name) for name in ("observation", "reward", "terminated", "truncated")}
Entries = dict
Change = Callable[[Entries], object]


def put(key, value, where=None) -> Change:
    """Replaces an entry, or some of its numbers."""

    def change(entries: Entries) -> None:
        if where is None:
            entries[key] = value(entries[key]) if callable(value) else value
        else:
            entries[key] = entries[key].clone()
            entries[key][where] = value

    return change


def drop(key) -> Change:
    return lambda entries: entries.pop(key)


NAN, INF = float("nan"), float("inf")
REPAIR = "Remove these rows or repair the file."

#: What is wrong, the error, and what it says behind the name of the source.
ROWS_OF_DATA: dict[str, tuple[Change, type[FlowPolicyError], str]] = {
    "a NaN action": (
        put("action", NAN, (1, 0)),
        DataError,
        f"'action': 1 of 6 rows not finite, first at row 1 (index [1, 0], value nan). {REPAIR}",
    ),
    "an infinite observation": (
        put("observation", -INF, (2, 1)),
        DataError,
        "'observation': 1 of 6 rows not finite, first at row 2 (index [2, 1], value -inf). "
        + REPAIR,
    ),
    "an action of a million": (
        put("action", 1e6, 4),
        DataError,
        (
            "'action': 1 of 6 rows outside [-1, 1] (largest magnitude 1e+06, in row 4). Rescale "
            "them, for instance by Dataset.from_tensordict(td, action_low=..., action_high=...) "
            "with the bounds of the environment's action space."
        ),
    ),
    "a value beyond single precision": (
        put(NEXT["reward"], lambda reward: reward.double() + 1e300),
        DataError,
        "('next', 'reward'): 6 of 6 rows not finite, first at row 0 (index [0, 0], value inf). "
        + REPAIR,
    ),
    "complex observations": (
        put("observation", lambda x: x.to(torch.complex64)),
        DataError,
        "'observation' has dtype torch.complex64; real numbers are needed.",
    ),
    "whole numbers as actions": (
        put("action", torch.zeros(ROWS, 1, dtype=torch.int32)),
        DataError,
        (
            "'action' has dtype torch.int32; floating-point numbers are needed. Convert it with "
            ".float()."
        ),
    ),
    "flags of 0 and 255": (
        put(NEXT["terminated"], lambda flags: flags.to(torch.uint8) * 255),
        DataError,
        "('next', 'terminated') must be boolean, got torch.uint8. Convert it with .bool().",
    ),
    "episodes as floats": (
        put("episode", lambda episode: episode / 2),
        DataError,
        "'episode' must be whole numbers (int64), got float32. Convert it with .long().",
    ),
    "windows of no steps": (
        put("steps_to_next_obs", torch.tensor([[1], [1], [0], [1], [1], [1]])),
        DataError,
        (
            "'steps_to_next_obs' must be at least 1, got 0 in row 2; it is the number of steps "
            "that the row's reward sums."
        ),
    ),
    "flat actions": (
        put("action", lambda action: action[:, 0]),
        ShapeError,
        "'action' must be [N, width] with N = 6, got [6].",
    ),
    "flat rewards": (
        put(NEXT["reward"], lambda reward: reward[:, 0]),
        ShapeError,
        (
            "('next', 'reward') must be [N, 1] with N = 6, got [6]. Add the last dimension with "
            "unsqueeze(-1)."
        ),
    ),
    "episodes with a column": (
        put("episode", lambda episode: episode[:, None]),
        ShapeError,
        "'episode' must be [N] with N = 6, got [6, 1]. Drop the last dimension with squeeze(-1).",
    ),
    "images": (
        put("observation", torch.zeros(ROWS, 8, 8, 3)),
        ShapeError,
        (
            "'observation' must be [N, width] with N = 6, got [6, 8, 8, 3]. Flatten it; images "
            "need an encoder, which turns them into vectors first."
        ),
    ),
    "observations of no width": (
        put("observation", torch.zeros(ROWS, 0)),
        ShapeError,
        "'observation' must be [N, width] with N = 6, got [6, 0].",
    ),
    "another width at the next step": (
        put(NEXT["observation"], torch.zeros(ROWS, 3)),
        ShapeError,
        "('next', 'observation') has shape [6, 3] but 'observation' has [6, 2]; both are [N, O].",
    ),
    "no rewards": (
        drop(NEXT["reward"]),
        MissingKeyError,
        (
            "no ('next', 'reward'); a transition needs 'observation', 'action', ('next', "
            "'observation'), ('next', 'reward') and ('next', 'terminated')."
        ),
    ),
    "no terminations": (
        drop(NEXT["terminated"]),
        MissingKeyError,
        (
            "no ('next', 'terminated'); it tells whether the next state has a value. A bare "
            "('next', 'done') does not say whether a trajectory ended or was cut off."
        ),
    ),
    "next actions of another width": (
        put(("next", "action"), torch.zeros(ROWS, 2)),
        ShapeError,
        "('next', 'action') has shape [6, 2] but 'action' has [6, 1]; both are [N, A].",
    ),
    "next actions outside the box": (
        put(("next", "action"), torch.full((ROWS, 1), -50.0)),
        DataError,
        (
            "('next', 'action'): 6 of 6 rows outside [-1, 1] (largest magnitude 50, in row 0). "
            "Rescale them, for instance by Dataset.from_tensordict(td, action_low=..., "
            "action_high=...) with the bounds of the environment's action space."
        ),
    ),
    "ends that no flag explains": (
        put(("next", "done"), torch.tensor([[False], [True], [False], [False], [False], [True]])),
        DataError,
        (
            "('next', 'done') contradicts the other flags in 1 of 6 rows, first in row 1; it is "
            "True where ('next', 'terminated') or ('next', 'truncated') is. Leave it out to have "
            "it derived."
        ),
    ),
}


def as_tensordict(entries: Entries, **changes) -> TensorDict:
    data = TensorDict({"next": TensorDict(batch_size=[ROWS])}, batch_size=[ROWS])
    for key, values in {**entries, **changes}.items():
        data[key] = values
    return data


def directly(entries: Entries, _: Path) -> Dataset:
    return Dataset(entries, source="mine")


def with_extras(data: TensorDict) -> Dataset:
    extra = [("next", "action")] if ("next", "action") in data.keys(True) else []
    return Dataset.from_tensordict(data, extra=extra)


def from_tensordict(entries: Entries, _: Path) -> Dataset:
    return with_extras(as_tensordict(entries))


def from_a_replay_buffer(entries: Entries, _: Path) -> Dataset:
    buffer = ReplayBuffer(storage=LazyTensorStorage(ROWS))
    buffer.extend(as_tensordict(entries))
    return with_extras(buffer[:])


def from_memory_maps(entries: Entries, folder: Path) -> Dataset:
    as_tensordict(entries).memmap(folder)
    mapped = TensorDict.load_memmap(folder, allow_pickle=False)
    return with_extras(mapped)


#: Every way in, and what it calls the data.
WAYS = [
    (directly, "mine"),
    (from_tensordict, "Dataset.from_tensordict"),
    (from_a_replay_buffer, "Dataset.from_tensordict"),
    (from_memory_maps, "Dataset.from_tensordict"),
]


@pytest.mark.parametrize(("way", "source"), WAYS)
@pytest.mark.parametrize("wrong", ROWS_OF_DATA)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of TensorDict, writing NaN
def test_data_are_refused_by_every_way(wrong, way, source, tmp_path):
    change, kind, told = ROWS_OF_DATA[wrong]
    entries = transitions([ROWS])
    change(entries)
    with pytest.raises(kind) as caught:
        way(entries, tmp_path)
    assert str(caught.value) == f"{source}: {told}"
    assert "pickle" not in str(caught.value)


def test_no_rows_are_refused():  # TorchRL itself stores none
    entries = {key: values[:0] for key, values in transitions([ROWS]).items()}
    with pytest.raises(DataError, match=r"^mine: the data set is empty \(0 rows\)\.$"):
        Dataset(entries, source="mine")
    none = as_tensordict(transitions([ROWS]))[:0]
    for bounds in ({}, {"action_low": -2.0, "action_high": 2.0}):
        with pytest.raises(DataError, match=r"the data set is empty \(0 rows\)\.$"):
            Dataset.from_tensordict(none, **bounds)


@pytest.mark.parametrize(("way", "_source"), WAYS)
def test_good_data_pass_by_every_way(way, _source, tmp_path):
    entries = transitions([4, 2], successes={1})
    assert way(entries, tmp_path).fingerprint() == Dataset(entries).fingerprint()


def test_half_precision_is_noticed_and_widened(tmp_path):
    entries = transitions([ROWS])
    entries["action"] = entries["action"].half()
    for way, source in WAYS:
        told = rf"^{source}: 'action' was recorded in float16, with about three digits; it is kept"
        with pytest.warns(UserWarning, match=told):
            dataset = way(entries, tmp_path)
        assert dataset.entries()["action"].dtype == torch.float32


class TestWhatOnlyADatasetMeets:
    def test_arrays_of_numpy(self):
        entries = {**transitions([ROWS]), "action": np.zeros((ROWS, 1))}
        with pytest.raises(
            DtypeError, match=r"'action' must be a torch\.Tensor, got ndarray; use torch\.as_tensor"
        ):
            Dataset(entries)

    def test_a_bare_number(self):
        with pytest.raises(ShapeError, match=r"'observation' must be \[N, width\] with N = 1"):
            Dataset({**transitions([1]), "observation": torch.tensor(0.0)})

    def test_two_devices(self):
        entries = transitions([ROWS])
        entries["weight"] = torch.zeros(ROWS, 1, dtype=torch.int64, device="meta")
        with pytest.raises(
            DataError, match=r"'weight' lies on meta but 'observation' on cpu\. Move all entries"
        ):
            Dataset(entries)

    def test_gradients_stay_outside(self):
        entries = transitions([ROWS])
        entries["observation"].requires_grad_()
        assert not Dataset(entries).blocks["real"].requires_grad


class TestWhatOnlyATensorDictMeets:
    def test_observations_in_parts(self):
        parts = TensorDict(pixels=torch.zeros(ROWS, 2), state=torch.zeros(ROWS, 1), batch_size=ROWS)
        with pytest.raises(
            DataError,
            match=r"'observation' holds several entries \(pixels, state\); one tensor \[N, width\]",
        ):
            Dataset.from_tensordict(as_tensordict(transitions([ROWS]), observation=parts))

    @pytest.mark.parametrize("wrong", ["flat actions", "a NaN action", "whole numbers as actions"])
    def test_actions_are_looked_at_before_they_are_rescaled(self, wrong):
        change, kind, told = ROWS_OF_DATA[wrong]
        entries = transitions([ROWS])
        change(entries)
        with pytest.raises(kind) as caught:
            Dataset.from_tensordict(as_tensordict(entries), action_low=-1, action_high=1)
        assert str(caught.value) == f"Dataset.from_tensordict: {told}"

    def test_bounds_are_those_of_single_precision(self):
        action = torch.full((ROWS, 1), 0.4)  # above 0.4 in double precision
        dataset = Dataset.from_tensordict(
            as_tensordict(transitions([ROWS]), action=action), action_low=-0.4, action_high=0.4
        )
        assert dataset.entries()["action"].eq(1).all()


class TestOrder:
    """What only windows rely on, and only they refuse."""

    @pytest.mark.parametrize(
        "cut", [transforms.n_step, transforms.chunk, transforms.with_next_action]
    )
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (
                put("episode", torch.tensor([0, 1, 0, 1, 0, 1])),
                (
                    "the rows of an episode do not lie next to each other. Sort the data by "
                    "episode and time; data [T, E] of E environments side by side become so by "
                    "data.transpose(0, 1).reshape(-1)."
                ),
            ),
            (
                put(NEXT["truncated"], True, 2),
                (
                    "('next', 'truncated') is True in row 2, but row 3 is of the same episode 0; "
                    "an episode ends where it is truncated. Number the episodes anew, or leave "
                    "'episode' out to have it derived."
                ),
            ),
            (
                put(NEXT["observation"], 9.0, slice(1, 3)),
                (
                    "2 of 5 steps lead elsewhere than to the next row of their episode, first "
                    "from row 1 (episode 0): its ('next', 'observation') is not the "
                    "'observation' of row 2. Sort the data by episode and time, and give every "
                    "trajectory an 'episode' number of its own."
                ),
            ),
        ],
        ids=["side by side", "goes on after its end", "leads elsewhere"],
    )
    def test_of_single_steps(self, cut, change, told):
        entries = transitions([ROWS])
        change(entries)
        dataset = Dataset(entries, DatasetInfo(name="mine"))  # which one-step learning can use
        with pytest.raises(DataError) as caught:
            cut(dataset, *([] if cut is transforms.with_next_action else [2, 0.9]))
        assert str(caught.value) == f"{cut.__name__} of 'mine': {told}"

    @pytest.mark.parametrize("cut", [transforms.n_step, transforms.chunk])
    def test_steps_have_no_validity(self, cut):
        entries = {**transitions([ROWS]), "valid": torch.ones(ROWS, 1, dtype=torch.bool)}
        with pytest.raises(DataError, match=r"^\w+: the rows of 'mine' have 'valid', which tells"):
            cut(Dataset(entries, DatasetInfo(name="mine")), 2, 0.9)

    def test_environments_that_follow_each_other_are_episodes_of_their_own(self):
        """Rollouts that end before the environment does, laid end to end."""
        parts = [transitions([150]) for _ in range(2)]
        for entries in parts:
            for flag in ("terminated", "truncated"):
                entries["next", flag] = torch.zeros(150, 1, dtype=torch.bool)
            del entries["episode"]
        joint = {key: torch.cat([entries[key] for entries in parts]) for key in parts[0]}
        dataset = Dataset(joint)
        assert dataset.info.episodes == 2
        assert torch.equal(dataset.entries()["episode"], torch.arange(2).repeat_interleave(150))
        windows = transforms.n_step(dataset, 3, 1.0).entries()
        way = windows["next", "observation"][:, 0] - windows["observation"][:, 0]
        assert (way > 0).all()  # none leads back to the beginning

    def test_a_lost_row_in_a_hundred_is_no_reason(self):
        entries = transitions([201])
        entries["next", "observation"] = entries["next", "observation"].clone()
        entries["next", "observation"][7] = 9.0
        assert len(transforms.n_step(Dataset(entries), 2, 0.9)) == 200


class TestFiles:
    def refusal(self, root: Path) -> str:
        with pytest.raises(DataError) as caught:
            load(MAZE, root)
        assert "pickle" not in str(caught.value)
        return str(caught.value).removeprefix(f"{root / MAZE_FILE}: ")

    def test_a_header_of_twenty_terabytes(self, maze_file, maze_arrays):
        root = maze_file()
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2500000000000, 2), }\n"
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        with zipfile.ZipFile(root / MAZE_FILE, "w") as archive:
            archive.writestr("observations.npy", content + bytes(80))
            for key in ("actions", "terminals", "qpos"):
                member = io.BytesIO()
                np.save(member, maze_arrays[key])
                archive.writestr(f"{key}.npy", member.getvalue())
        assert self.refusal(root) == (
            "observations claims shape [2500000000000, 2] of float32 (20,000,000,000,000 bytes) "
            "but the file holds 80 bytes for it. Delete the file and download or generate it again."
        )

    def test_a_failed_download(self, tmp_path):
        (tmp_path / MAZE_FILE).write_text("<!DOCTYPE html><html>404</html>")
        assert self.refusal(tmp_path) == (
            "not an .npz file (starts with '<!DOCTYPE html><html>404</html>'). It looks like a web "
            "page: the download failed. Delete the file and download or generate it again."
        )

    @pytest.mark.parametrize("key", ["next_observations", "valids"])
    def test_what_ogbench_has_arranged(self, maze_file, maze_arrays, key):
        root = maze_file(**{key: maze_arrays["observations"]})
        assert self.refusal(root) == (
            f"the file has {key!r}, so it holds data as OGBench arranges them when it loads a "
            "file, not as they were recorded. Use the file that OGBench downloads, or make "
            "transitions of this one by Dataset.from_tensordict."
        )

    def test_half_precision(self, maze_file, maze_arrays):
        root = maze_file(actions=maze_arrays["actions"].astype(np.float16))
        with pytest.warns(UserWarning, match=r"v0\.npz: actions was recorded in float16"):
            assert load(MAZE, root).entries()["action"].dtype == torch.float32


class TestOnline:
    def test_steps_go_through_the_same_checks(self):
        row = {key: values[:1] for key, values in transitions([ROWS]).items()}
        row["next", "reward"] = torch.full((1, 1), NAN)
        with pytest.raises(
            DataError, match=r"world, online step 3: .* value nan\)\. Look there\.$"
        ):
            check_transitions("world, online step 3", row, "Look there.")

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("next.reward", torch.full((3, 1), NAN), "online transitions: .*rows not finite"),
            ("action", torch.full((3, 1), 5.0), r"online transitions: .*outside \[-1, 1\]"),
            ("action", torch.zeros(3, 2), "do not fit the data of the run at 'action'"),
            ("action", torch.zeros(3, 1).double(), "do not fit the data of the run at 'action'"),
        ],
    )
    def test_so_do_those_of_a_checkpoint(self, dataset, key, value, told):
        experience = PooledExperience(dataset, 3, torch.Generator())
        experience.append(dataset.take(torch.arange(3)))
        state = {**experience.state(), key: value}
        other = PooledExperience(dataset, 3, torch.Generator())
        with pytest.raises(CheckpointError, match=told):
            other.load(state, "checkpoint 7")
        assert len(other) == 0


#: Batches given straight to an agent: shapes and dtypes are looked at, values are not.
BATCHES: dict[str, tuple[Callable, type[FlowPolicyError], str]] = {
    "no observation": (
        lambda b: b.exclude("observation"),
        MissingKeyError,
        "the batch has no 'observation'; it has",
    ),
    "flat rewards": (
        lambda b: b.set(NEXT["reward"], b["next", "reward"][:, 0]),
        ShapeError,
        (
            "('next', 'reward') must be [*B, 1], got [6]. Per-sample scalars are [*B, 1]: add "
            "the last dimension with unsqueeze(-1)."
        ),
    ),
    "actions of another width": (
        lambda b: b.set("action", torch.zeros(ROWS, 3)),
        ShapeError,
        "'action' must be [*B, 1], got [6, 3].",
    ),
    "double precision": (
        lambda b: b.set("action", b["action"].double()),
        DtypeError,
        "'action' is float64 but the parameters are float32; cast it with .float()",
    ),
    "whole numbers": (
        lambda b: b.set("observation", b["observation"].long()),
        DtypeError,
        "batch: 'observation' must be of a floating dtype, got int64; cast it with .float().",
    ),
    "complex observations": (
        lambda b: b.set("observation", b["observation"].to(torch.complex64)),
        DtypeError,
        "batch: 'observation' must be of a floating dtype, got complex64; cast it with .float().",
    ),
    "complex rewards": (
        lambda b: b.set(NEXT["reward"], b["next", "reward"].to(torch.complex64)),
        DtypeError,
        "TDLoss: ('next', 'reward') is torch.complex64; real numbers are needed.",
    ),
    "no rows": (lambda b: b[:0], ShapeError, "'observation' is empty, [0, 2]; give at least one"),
    "a dictionary": (
        lambda b: b.to_dict(),
        ConfigError,
        "Agent.update: batch must be a TensorDict, got dict. Use TensorDict(batch, batch_size=",
    ),
    "a data set": (
        lambda _: Dataset(transitions([ROWS])),
        ConfigError,
        "Agent.update: batch must be a TensorDict, got Dataset.",
    ),
}


@pytest.mark.parametrize("wrong", BATCHES)
def test_batches_are_refused_by_an_agent(wrong):
    change, kind, told = BATCHES[wrong]
    agent = fp.agents.fql(2, 1, hidden=(4,), flow_steps=1)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    with pytest.raises(kind) as caught:
        agent.update(change(as_tensordict(transitions([ROWS]))))
    assert told in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())
