"""Action chunks equal a loop that follows the definition word for word."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpolicy.data import Dataset, DatasetInfo
from flowpolicy.data.transforms import chunk, n_step
from flowpolicy.errors import ConfigError, DataError
from tests.data.conftest import transitions


def naive(dataset: Dataset, horizon: int, discount: float) -> list[dict[str, object]]:
    """One window at a time: everything counts up to the end of the trajectory."""
    entries = dataset.entries()
    windows = []
    for i in range(len(dataset) - horizon + 1):
        total, solved, last = 0.0, False, i
        for j in range(horizon):
            if entries["episode"][i + j] != entries["episode"][i]:
                break
            total += discount**j * entries["next", "reward"][i + j].item()
            solved |= bool(entries["next", "terminated"][i + j])
            last = i + j
        windows.append(
            {
                "actions": entries["action"][i : i + horizon].flatten().tolist(),
                "reward": total,
                "terminated": solved,
                "last": last,
                "valid": last == i + horizon - 1,
            }
        )
    return windows


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    data=st.data(),
    horizon=st.integers(1, 8),
    discount=st.sampled_from([0.5, 0.99, 1.0]),
)
def test_equals_the_loop(lengths, data, horizon, discount):
    rows = sum(lengths)
    successes = data.draw(st.sets(st.integers(0, rows - 1), max_size=4))
    dataset = Dataset(transitions(lengths, successes))
    if horizon > max(lengths):
        with pytest.raises(DataError, match=f"chunk: no chunk of {horizon} steps fits"):
            chunk(dataset, horizon, discount)
        return
    expected = naive(dataset, horizon, discount)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        chunks = chunk(dataset, horizon, discount)
    valid = [window["valid"] for window in expected]
    assert len(heard) == (2 * sum(valid) < len(valid))
    before, after = dataset.entries(), chunks.entries()
    assert torch.equal(after["action"], torch.tensor([w["actions"] for w in expected]))
    for key in ("observation", "episode"):
        assert torch.equal(after[key], before[key][: len(expected)]), key
    last = torch.tensor([window["last"] for window in expected])
    for key in ("observation", "truncated"):
        assert torch.equal(after["next", key], before["next", key][last]), key
    assert after["next", "terminated"].squeeze(1).tolist() == [w["terminated"] for w in expected]
    assert after["valid"].squeeze(1).tolist() == valid
    assert after["steps_to_next_obs"].squeeze(1).tolist() == [horizon] * len(expected)
    torch.testing.assert_close(
        after["next", "reward"].squeeze(1), torch.tensor([w["reward"] for w in expected])
    )


def test_by_hand():
    """Episodes of 5, 4 and 6 rows; row 6 is solved, which does not end its window."""
    chunks = chunk(Dataset(transitions([5, 4, 6], successes={6})), 3, 0.5).entries()
    assert len(chunks["action"]) == 13
    # Row i has reward i / 10.
    assert chunks["next", "reward"][5].item() == pytest.approx(0.5 + 0.6 / 2 + 0.7 / 4)
    assert chunks["next", "reward"][8].item() == pytest.approx(0.8)  # the last of its episode
    assert chunks["next", "terminated"].squeeze(1).nonzero().squeeze(1).tolist() == [5, 6]
    assert chunks["next", "observation"][3, 0] == 5  # row 4 ends the first episode
    assert (~chunks["valid"]).squeeze(1).nonzero().squeeze(1).tolist() == [3, 4, 7, 8]


def test_chunks_of_one_action_are_the_data():
    dataset = Dataset(transitions([4, 3], successes={2}))
    before, after = dataset.entries(), chunk(dataset, 1, 0.9).entries()
    assert after.pop("steps_to_next_obs").unique().tolist() == [1]
    assert after.pop("valid").all()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_records_what_it_did_and_leaves_its_input_alone(tmp_path):
    dataset = Dataset(transitions([5, 5]), DatasetInfo(name="x", success_timing="pre"))
    fingerprint = dataset.fingerprint()
    chunks = chunk(dataset, 3, 0.9)
    info = chunks.info
    assert (info.horizon, info.discount, info.n_step, info.act_dim) == (3, 0.9, 1, 3)
    assert (info.transitions, info.episodes, info.success_timing) == (8, 2, "pre")
    assert dataset.fingerprint() == fingerprint
    assert dataset.info.horizon == 1
    chunks.save(tmp_path / "chunks.safetensors")
    again = Dataset.open(tmp_path / "chunks.safetensors")
    assert again.info == info
    assert again.fingerprint() == chunks.fingerprint()
    assert chunks.fingerprint() != chunk(dataset, 2, 0.9).fingerprint()
    batch = again.sample(4)
    assert (batch["valid"].dtype, batch["valid"].shape) == (torch.bool, (4, 1))
    back = Dataset.from_tensordict(chunks.as_tensordict(), info=info)
    assert back.fingerprint() == chunks.fingerprint()


def test_only_chunks_of_one_length_are_joined():
    one = Dataset(transitions([5, 5]), DatasetInfo(name="x"))
    three = chunk(one, 3, 0.9)
    joined = Dataset.concat([three, three])
    assert (len(joined), joined.info.episodes, joined.info.horizon) == (16, 4, 3)
    with pytest.raises(DataError, match="'x' has horizon=3, discount=0.9 but 'x' horizon=2, disc"):
        Dataset.concat([three, chunk(one, 2, 0.9)])


def test_only_the_actions_grow():
    dataset = Dataset(transitions([50]))
    before = {name: block.dtype for name, block in dataset.blocks.items()}
    chunks = chunk(dataset, 5)
    assert {name: block.dtype for name, block in chunks.blocks.items()} == before
    widths = {column.key: column.width for column in chunks.columns}
    assert (widths["action"], widths["observation"]) == (5, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "chunk: horizon must be at least 1, got 0"),
        ({"discount": 0.0}, r"chunk: discount must lie in \(0, 1\], got 0.0"),
        ({"discount": float("nan")}, r"chunk: discount must lie in \(0, 1\], got nan"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        chunk(Dataset(transitions([8])), **options)


def test_refuses_what_are_no_single_steps():
    one = Dataset(transitions([6]), DatasetInfo(name="x"))
    with pytest.raises(DataError, match=r"chunk: 'x' holds windows of 2 steps already\. Start fr"):
        chunk(n_step(one, 2, 0.9), 2, 0.9)
    with pytest.raises(DataError, match=r"chunk: 'x' holds chunks of 3 steps already\. Start from"):
        chunk(chunk(one, 3, 0.9), 2, 0.9)
    with pytest.raises(DataError, match=r"n_step: 'x' holds chunks of 3 steps already\. Start fro"):
        n_step(chunk(one, 3, 0.9), 2, 0.9)
    entries = transitions([3, 3])
    mixed = torch.tensor([0, 3, 1, 4, 2, 5])
    shuffled = Dataset({key: values[mixed] for key, values in entries.items()})
    with pytest.raises(DataError, match="chunk of 'unnamed': the rows of an episode do not lie"):
        chunk(shuffled, 2, 0.9)


def test_refuses_chunks_longer_than_every_trajectory():
    with pytest.raises(
        DataError, match="no chunk of 6 steps fits into 'unnamed', whose longest episode has 5 step"
    ):
        chunk(Dataset(transitions([3, 5])), 6, 0.9)


def test_warns_where_most_rows_teach_no_action():
    with pytest.warns(
        UserWarning,
        match="chunk: 60% of the rows of 'unnamed' teach no action, because fewer than 4 steps",
    ) as heard:
        chunks = chunk(Dataset(transitions([4, 4])), 4, 0.9)
    assert chunks.entries()["valid"].sum() == 2
    assert heard[0].filename == __file__


def test_validity_is_a_flag():
    entries = transitions([3])
    with pytest.raises(DataError, match=r"'valid' must be boolean, got torch.float32\. Convert it"):
        Dataset({**entries, "valid": torch.ones(3, 1)})
