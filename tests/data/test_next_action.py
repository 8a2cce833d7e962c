"""The action that the data took next, alone and with windows and chunks."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from flowpolicy.data import Dataset, transforms
from flowpolicy.train import TrainConfig
from flowpolicy.train.task import load_dataset

NEXT = ("next", "action")


def steps(episodes: tuple[int, ...] = (4, 4)) -> Dataset:
    """Rows whose action is their number over a hundred."""
    count = sum(episodes)
    rows = torch.arange(float(count)).unsqueeze(1)
    return Dataset(
        {
            "observation": rows,
            "action": rows / 100,
            ("next", "reward"): -torch.ones(count, 1),
            ("next", "observation"): rows + 1,
            ("next", "terminated"): torch.zeros(count, 1, dtype=torch.bool),
            "episode": torch.repeat_interleave(torch.arange(len(episodes)), torch.tensor(episodes)),
        }
    )


def hundredths(dataset: Dataset) -> list[list[int]]:
    return (100 * dataset.entries()[NEXT]).round().int().tolist()


def test_it_is_the_next_rows_also_across_the_end_of_a_trajectory() -> None:
    dataset = transforms.with_next_action(steps())
    assert hundredths(dataset) == [[1], [2], [3], [4], [5], [6], [7], [7]]
    assert dataset.sample(5)[NEXT].shape == (5, 1)
    assert NEXT not in steps().entries()


def test_windows_take_that_of_their_last_row_along() -> None:
    dataset = transforms.n_step(transforms.with_next_action(steps()), n=2, discount=0.9)
    assert hundredths(dataset) == [[2], [3], [4], [6], [7], [7]]


def test_chunks_have_the_chunk_after_theirs() -> None:
    chunks = transforms.chunk(steps((8,)), horizon=2, discount=0.9)
    dataset = transforms.with_next_action(chunks)
    assert hundredths(dataset)[:3] == [[2, 3], [3, 4], [4, 5]]
    assert hundredths(dataset)[-1] == [6, 7]
    single = transforms.with_next_action(steps((8,)))
    assert NEXT not in transforms.chunk(single, horizon=2, discount=0.9).entries()


def test_windows_are_refused() -> None:
    with pytest.raises(fp.DataError, match="holds windows of 2 steps already. Add the next act"):
        transforms.with_next_action(transforms.n_step(steps(), n=2, discount=0.9))


@pytest.mark.parametrize("run", [{}, {"n_step": 2}, {"horizon": 2}])
@pytest.mark.parametrize(
    ("agent", "options", "reads"),
    [("fql", {}, False), ("rebrac", {}, True), ("rebrac", {"critic_alpha": 0.0}, False)],
)
def test_a_run_adds_it_for_agents_that_read_it(run, agent, options, reads) -> None:
    config = TrainConfig(agent=agent, env="cube-single-play-v0", options=options, **run)
    before = torch.get_rng_state()
    dataset, _ = load_dataset(config, steps())
    assert (NEXT in dataset.entries()) == reads
    assert torch.equal(torch.get_rng_state(), before)
    built = fp.agents.build(agent, 1, 1, hidden=(4,), **config.recipe)
    loss = built.update(dataset.sample(8))["loss_qvalue"]
    assert loss.isfinite()
