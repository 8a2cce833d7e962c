"""From what runs have written to the tables of a benchmark or a sweep, number by number."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from flowpolicy.benchmark.summary import summarize_all
from flowpolicy.benchmark.table import write_tables
from flowpolicy.evaluate import bootstrap_interval, wilson_interval
from flowpolicy.run_folder import RunFolder


def run(folder: Path, seed: int, *, evaluations: str, metrics: str) -> RunFolder:
    written = RunFolder.create(folder, {"seed": seed, "eval_actors": ["policy", "flow"]})
    header = "step,actor,successes,episodes,return,return_std"
    written.evaluations.write_text(f"{header}\n{evaluations}")
    written.metrics.write_text(f"step,loss_qvalue,rate\n{metrics}")
    return written


def row_of(runs: list[RunFolder], out: Path) -> dict[str, str]:
    write_tables(summarize_all({("maze", "fql"): runs}), out, title="Two seeds")
    with (out / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


def test_the_last_evaluations_of_the_first_actor_make_the_table(tmp_path) -> None:
    """Seed 1: 5 updates at 10 and 15 at 5 a second. Seed 0: 10 at 2 and 10 at 4."""
    runs = [
        run(
            tmp_path / "b",
            1,
            evaluations="10,policy,9,10,-1,0\n10,flow,8,10,-2,0\n20,policy,5,10,-3,0\n"
            "20,flow,7,10,-4,0\n",
            metrics="5,1.0,10.0\n20,1.0,5.0\n",
        ),
        run(
            tmp_path / "a",
            0,
            evaluations="10,policy,6,10,-1,0\n20,policy,12,40,-3,0\n20,flow,10,10,-4,0\n",
            metrics="10,1.0,2.0\n20,1.0,4.0\n",
        ),
    ]
    seeds, episodes = bootstrap_interval([30.0, 50.0]), wilson_interval(17, 50)
    assert row_of(runs, tmp_path) == {
        "env": "maze",
        "name": "fql",
        "measure": "success (%)",
        "mean": "40.0",
        "std": "10.0",
        "seeds_low": str(seeds[0]),
        "seeds_high": str(seeds[1]),
        "episodes_low": str(100 * episodes[0]),
        "episodes_high": str(100 * episodes[1]),
        "seeds": "0 1",
        "values": "30 50",
        "episodes": "50",
        "updates": "20",
        "training_seconds": "5.5",  # of 7.5 and 3.5
        "ms_per_update": "262.5",  # of the medians 375 and 150
    }
    told = "| fql | 40.0 | 10.0 | {:.0f} to {:.0f} | {:.0f} to {:.0f} | 0: 30, 1: 50 | 6 | 262.50 |"
    ends = (*seeds, *(100 * end for end in episodes))
    assert told.format(*ends) in (tmp_path / "table.md").read_text().splitlines()


def test_without_successes_the_table_has_returns(tmp_path) -> None:
    runs = [
        run(tmp_path / str(seed), seed, evaluations=evaluations, metrics="4,1.0,2.0\n")
        for seed, evaluations in enumerate(("4,policy,,10,-3,1\n", "4,policy,,10,-5,1\n"))
    ]
    row = row_of(runs, tmp_path)
    assert (row["measure"], row["mean"], row["std"]) == ("return", "-4.0", "1.0")
    assert (row["episodes_low"], row["episodes_high"], row["values"]) == ("", "", "-3 -5")


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_the_best_of_each_environment_stands_first(tmp_path, order) -> None:
    rewards = {"one": "-5", "two": "-3"}
    groups = {
        ("maze", name): [
            run(
                tmp_path / name,
                0,
                evaluations=f"4,policy,,10,{rewards[name]},1\n",
                metrics="4,1.0,2.0\n",
            )
        ]
        for name in order
    }
    assert [summary.name for summary in summarize_all(groups)] == ["two", "one"]
