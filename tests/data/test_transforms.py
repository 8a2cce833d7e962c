"""Windows of n steps equal a loop that follows the definition word for word."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpolicy.data import Dataset, DatasetInfo
from flowpolicy.data.transforms import chunk, n_step, with_next_action
from flowpolicy.errors import ConfigError, DataError
from tests.data.conftest import transitions


def naive(dataset: Dataset, n: int, discount: float) -> list[dict[str, float]]:
    """One window at a time, up to a success or n steps; none if the trajectory ends before."""
    entries = dataset.entries()
    windows = []
    for i in range(len(dataset)):
        total, steps, success, j = 0.0, 0, False, i
        while steps < n and not success:
            if j >= len(dataset) or entries["episode"][j] != entries["episode"][i]:
                break
            total += discount**steps * entries["next", "reward"][j].item()
            success = bool(entries["next", "terminated"][j])
            steps, j = steps + 1, j + 1
        if success or steps == n:
            windows.append(
                {
                    "first": i,
                    "reward": total,
                    "last": i + steps - 1,
                    "terminated": success,
                    "steps": steps,
                }
            )
    return windows


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    data=st.data(),
    n=st.integers(1, 10),
    discount=st.sampled_from([0.5, 0.9, 0.995, 1.0]),
)
def test_equals_the_loop(lengths, data, n, discount):
    rows = sum(lengths)
    successes = data.draw(st.sets(st.integers(0, rows - 1), max_size=4))
    dataset = Dataset(transitions(lengths, successes))
    expected = naive(dataset, n, discount)
    if n > max(lengths) and len(expected) < rows:
        with pytest.raises(DataError, match=f"no window of {n} steps fits"):
            n_step(dataset, n, discount)
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        windows = n_step(dataset, n, discount)
    assert len(heard) == (2 * len(expected) < rows)
    before, after = dataset.entries(), windows.entries()
    first = torch.tensor([window["first"] for window in expected])
    last = torch.tensor([window["last"] for window in expected])
    for key in ("observation", "action", "episode"):
        assert torch.equal(after[key], before[key][first]), key
    for key in ("observation", "truncated"):
        assert torch.equal(after["next", key], before["next", key][last]), key
    assert after["next", "terminated"].squeeze(1).tolist() == [w["terminated"] for w in expected]
    assert after["steps_to_next_obs"].squeeze(1).tolist() == [w["steps"] for w in expected]
    assert torch.equal(
        after["next", "done"], after["next", "terminated"] | after["next", "truncated"]
    )
    torch.testing.assert_close(
        after["next", "reward"].squeeze(1), torch.tensor([w["reward"] for w in expected])
    )


def test_one_step_windows_are_the_data():
    dataset = Dataset(transitions([4, 3], successes={2}))
    before, after = dataset.entries(), n_step(dataset, 1, 0.9).entries()
    assert after.pop("steps_to_next_obs").unique().tolist() == [1]
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_records_what_it_did_and_leaves_its_input_alone():
    dataset = Dataset(transitions([5]), DatasetInfo(name="x", success_timing="pre"))
    fingerprint = dataset.fingerprint()
    windows = n_step(dataset, n=3, discount=0.9)
    assert (windows.info.n_step, windows.info.discount) == (3, 0.9)
    assert (windows.info.transitions, windows.info.episodes) == (3, 1)
    assert windows.info.success_timing == "pre"
    assert dataset.fingerprint() == fingerprint
    assert windows.sample(4)["steps_to_next_obs"].dtype == torch.int64
    assert windows.sample(4)["steps_to_next_obs"].shape == (4, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n_step: n must be at least 1, got 0"),
        ({"discount": 0.0}, r"n_step: discount must lie in \(0, 1\], got 0.0"),
        ({"discount": 1.1}, r"n_step: discount must lie in \(0, 1\], got 1.1"),
        ({"discount": float("nan")}, r"n_step: discount must lie in \(0, 1\], got nan"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        n_step(Dataset(transitions([5])), **options)


def test_refuses_windows_of_windows():
    windows = n_step(Dataset(transitions([5]), DatasetInfo(name="x")), 2, 0.9)
    with pytest.raises(
        DataError, match=r"'x' holds windows of 2 steps already\. Start from the one"
    ):
        n_step(windows, 2, 0.9)


@pytest.mark.parametrize("transform", [lambda d: n_step(d, 2, 0.9), with_next_action])
def test_refuses_windows_that_were_cut_elsewhere(transform):
    entries = transitions([5])
    entries["steps_to_next_obs"] = torch.full((5, 1), 3)
    with pytest.raises(DataError, match="'unnamed' holds windows of several steps already"):
        transform(Dataset(entries))


def test_refuses_shuffled_rows():
    entries = transitions([3, 3])
    mixed = torch.tensor([0, 3, 1, 4, 2, 5])
    shuffled = Dataset({key: values[mixed] for key, values in entries.items()})
    with pytest.raises(
        DataError, match="of 'unnamed': the rows of an episode do not lie next to each"
    ):
        n_step(shuffled, 2, 0.9)


def test_refuses_windows_longer_than_every_trajectory():
    with pytest.raises(
        DataError,
        match=r"no window of 6 steps fits into 'unnamed', whose longest episode has 5 steps",
    ):
        n_step(Dataset(transitions([3, 5], successes={1})), 6, 0.9)


def test_longer_windows_are_fine_where_every_one_ends_with_a_success():
    windows = n_step(Dataset(transitions([3, 2], successes={2, 4})), 9, 0.9)
    assert windows.entries()["steps_to_next_obs"].squeeze(1).tolist() == [3, 2, 1, 2, 1]


def test_warns_where_most_rows_are_dropped():
    with pytest.warns(
        UserWarning,
        match="n_step: 75% of the rows of 'unnamed' are dropped, because fewer than 4 steps follow",
    ) as heard:
        windows = n_step(Dataset(transitions([4, 4])), 4, 0.9)
    assert len(windows) == 2
    assert heard[0].filename == __file__


@pytest.mark.parametrize("transform", [n_step, chunk])
def test_further_entries_of_the_end_are_those_of_the_windows_last_step(transform):
    rows = transitions([5, 4, 6], successes={6})
    rows["next", "goal"], rows["goal"] = rows["next", "observation"], rows["observation"]
    windows = transform(Dataset(rows), 3, 0.9).entries()
    assert torch.equal(windows["next", "goal"], windows["next", "observation"])
    assert torch.equal(windows["goal"], windows["observation"])
