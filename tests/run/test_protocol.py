"""Scores by the rules of the papers, and which actions are played for them."""

from __future__ import annotations

import csv
import math
import statistics
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flowpolicy as fp
from flowpolicy.agents import RECIPES
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import PROTOCOLS, Protocol, bootstrap_interval, evaluate, protocol
from flowpolicy.results import Point, Score, mean_over_tasks, pooled, read_points, score
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig, train
from tests.run.conftest import TINY

COLUMNS = ("step", "actor", "successes", "episodes", "return", "return_std")
HUNDRED_THOUSANDS = range(100_000, 1_000_001, 100_000)


def recorded(path, successes, *, every=10, episodes=50, actor="policy", **config) -> RunFolder:
    """A run folder with an evaluation every so many steps, of so many successes."""
    steps = {"offline_steps": every * len(successes), "online_steps": 0}
    folder = RunFolder.create(path, {**steps, **config})
    with folder.evaluations.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for number, count in enumerate(successes, start=1):
            row = {"successes": count, "episodes": episodes, "return": -1.5, "return_std": 0}
            writer.writerow({"step": every * number, "actor": actor, **row})
    return folder


def several(path, lines, **options) -> RunFolder:
    folder = RunFolder.create(path, {"offline_steps": 10 * len(lines[0])} | options)
    for seed, line in enumerate(lines):
        recorded(path / f"seed_{seed}", line, **options)
    return folder


def test_the_protocols_of_the_papers():
    assert {
        name: rules.select(HUNDRED_THOUSANDS, 1_000_000) for name, rules in PROTOCOLS.items()
    } == {
        "fql": (800_000, 900_000, 1_000_000),
        "fql_d4rl": (1_000_000,),
        "gfp": (800_000, 900_000, 1_000_000),
        "gfp_d4rl": (1_000_000,),
        "qam": (1_000_000,),
    }
    assert {name: rules.episodes for name, rules in PROTOCOLS.items() if rules.episodes != 50} == {
        "gfp": 100,
        "gfp_d4rl": 100,
    }
    assert [name for name, rules in PROTOCOLS.items() if rules.sampled] == ["qam"]
    assert [name for name, rules in PROTOCOLS.items() if rules.spread == "interval"] == ["qam"]
    assert (protocol("fql").seeds, protocol("gfp").seeds, protocol("qam").seeds) == (8, 8, 12)
    with pytest.raises(ConfigError, match="unknown protocol 'gpf'; did you mean 'gfp'"):
        protocol("gpf")


def test_an_evaluation_every_so_often_is_not_one_every_hundred_thousand():
    often = range(50_000, 1_000_001, 50_000)
    assert protocol("fql").select(often, 1_000_000) == (900_000, 950_000, 1_000_000)
    assert protocol("gfp").select(often, 1_000_000) == (800_000, 900_000, 1_000_000)
    assert protocol("fql").select(often, 500_000) == (400_000, 450_000, 500_000)  # before online


@pytest.mark.parametrize(
    ("name", "steps", "end", "message"),
    [
        (
            "fql",
            [10, 20],
            20,
            "fql is the mean of the last 3 evaluations, the last of them after 20 steps; the run",
        ),
        (
            "fql",
            [0, 10, 20],
            20,
            "the run was evaluated after 10, 20",
        ),  # untrained: not one of them
        ("fql", [10, 20, 30], 40, "after 40 steps; the run was evaluated after 10, 20, 30 steps$"),
        ("fql", [], 40, "the run has no evaluation"),
        ("fql", [4000], 4000, r"at least 3 times: --eval-every 1333 or less\)$"),
        ("qam", [10, 20, 30], 40, "qam is the evaluation after 40 steps; the run was evaluated"),
        (
            "gfp",
            [250_000, 500_000],
            500_000,
            "and 100,000 and 200,000 steps before that; the run was evaluated after 250,000, 5",
        ),
        (
            "gfp",
            [10, 20, 30],
            30,
            "after 30 steps and 100,000 and 200,000 steps before that",
        ),
    ],
)
def test_too_few_evaluations_are_no_score(name, steps, end, message):
    with pytest.raises(ConfigError, match=message):
        protocol(name).select(steps, end)


def test_the_score_is_the_mean_of_the_last_three_and_never_the_best(tmp_path):
    run = several(tmp_path / "r", [[50, 50, 10, 20, 30], [50, 50, 0, 0, 3]], protocol="fql")
    found = score(run)
    assert found.values == pytest.approx((40.0, 2.0))
    assert (found.mean, found.std) == pytest.approx((21.0, 19.0))  # population: half the distance
    assert found.interval == pytest.approx((2.0, 40.0))
    assert str(found) == "21.0 ± 19.0 %"
    assert found.differences == ("2 seeds, not 8",)
    last = score(run, protocol("qam"))
    assert last.values == (60.0, 6.0)
    assert str(last) == "33.0 % [6.0, 60.0]"
    assert last.differences == (
        "2 seeds, not 12",
        "Gaussian policies were played at their mode, by protocol fql",
    )


def test_a_run_that_went_on_online_has_two_scores(tmp_path):
    run = recorded(tmp_path / "r", [0, 10, 20], online_steps=30)
    with run.evaluations.open() as file:
        rows = list(csv.DictReader(file))
    # Five steps of the environment without an update, as QAM waits for 5000.
    later = [
        {**rows[0], "step": 25 + env_steps, "env_steps": env_steps, "successes": 20 + env_steps}
        for env_steps in (10, 20, 30)
    ]
    with run.evaluations.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "env_steps"])
        writer.writeheader()
        writer.writerows([*rows, *later])
    assert score(run).values == (80.0,)
    assert score(run, end=30).values == (20.0,)
    assert score(run, protocol("qam")).values == (100.0,)
    assert score(run).interval is None
    assert str(score(run)) == "80.0 %"


def test_a_stopped_run_has_no_score(tmp_path):
    run = several(tmp_path / "r", [[50] * 5, [50] * 4], offline_steps=50)
    with pytest.raises(
        ConfigError, match="the last of them after 50 steps; the run was evaluated after 10, 20, 30"
    ):
        score(run)
    RunFolder.create(tmp_path / "r" / "seed_2", {})
    with pytest.raises(ConfigError, match="2 of 3 seeds have evaluations of 'policy'; a score is"):
        score(run)
    (tmp_path / "r" / "seed_0-backup").mkdir()  # no seed
    config = {**run.config(), "seeds": [0, 1, 2, 3]}  # of which one has not even a folder
    run.write_json("config.json", config)
    with pytest.raises(ConfigError, match="2 of 4 seeds have evaluations of 'policy'; a score is"):
        score(run)
    with pytest.raises(ConfigError, match=r"unknown evaluated actor of .*r 'flow'\. Known: policy"):
        score(run, actor="flow")


def test_returns_where_nobody_tells_of_success(tmp_path):
    found = score(recorded(tmp_path / "r", [""] * 3, episodes=20))
    assert (found.values, found.success) == ((-1.5,), False)
    assert str(found) == "-1.5"
    assert found.differences == ("20 episodes per evaluation, not 50", "1 seed, not 8")


def test_an_actor_that_never_succeeds_is_counted_as_the_one_that_does(tmp_path):
    run = several(tmp_path / "r", [["", 40], ["", ""]])
    with run.seeds()[0].evaluations.open("a", newline="") as file:
        csv.writer(file).writerow([20, "flow", "", 50, 250.0, 0])
    actors = read_points(run)
    values = {actor: [[p.value for p in line] for line in lines] for actor, lines in actors.items()}
    assert values == {"policy": [[0.0, 80.0], [0.0, 0.0]], "flow": [[0.0]]}
    silent = read_points(recorded(tmp_path / "s", [""]))
    assert [point.value for point in silent["policy"][0]] == [-1.5]


def test_seeds_that_differ_in_updates_online_are_pooled_by_steps_of_the_environment():
    def line(waited: int) -> list[Point]:
        online = [Point(10 + n - waited, 1, 2, 0.0, 1.0, env_steps=n) for n in (5, 10)]
        return [Point(10, 0, 2, 0.0, 1.0), *online]

    together = pooled([line(1), line(3)])
    assert [(p.step, p.env_steps, p.successes) for p in together] == [
        (10, 0, 0),
        (14, 5, 2),
        (19, 10, 2),
    ]


def test_the_spread_over_tasks_is_that_of_the_seeds_means():
    rules = protocol("gfp")
    easy = Score(rules, (90.0, 100.0, 80.0), success=True, differences=("a",))
    hard = Score(rules, (10.0, 20.0, 30.0), success=True, differences=("a", "b"))
    both = mean_over_tasks([easy, hard])
    assert both.values == (50.0, 60.0, 55.0)
    assert both.std == pytest.approx(statistics.pstdev([50, 60, 55]))
    assert both.differences == ("a", "b")
    with pytest.raises(ConfigError, match="gfp, 2 seeds, success; gfp, 3 seeds, success"):
        mean_over_tasks([easy, Score(rules, (1.0, 2.0), success=True)])
    with pytest.raises(ConfigError, match="the scores must be of one kind, got none"):
        mean_over_tasks([])


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=12))
@settings(derandomize=True, deadline=None, max_examples=20)
def test_the_bootstrap_interval_holds_the_mean_and_repeats(values):
    low, high = bootstrap_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap_interval(values)
    wide = bootstrap_interval(values, 0.99)
    assert wide[0] <= low and high <= wide[1]


def test_the_bootstrap_interval_is_that_of_the_exact_distribution():
    """Of 12 zeros and ones the resampled mean is binomial."""
    values, rate = [1.0] * 5 + [0.0] * 7, 5 / 12
    chances = [math.comb(12, k) * rate**k * (1 - rate) ** (12 - k) for k in range(13)]

    def quantile(level: float) -> float:
        return next(k for k in range(13) if sum(chances[: k + 1]) >= level) / 12

    assert bootstrap_interval(values) == pytest.approx((quantile(0.025), quantile(0.975)))
    assert bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "0 values; the spread over seeds needs at least two"),
        ([1.0], {}, "1 value; the spread"),
        ([1.0, 2.0], {"confidence": 1.0}, "confidence 1.0 must lie between 0 and 1"),
        ([1.0, 2.0], {"resamples": 0}, "resamples 0 be at least 1"),
    ],
)
def test_impossible_intervals_are_refused(values, options, message):
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval(values, **options)


def gaussian(obs_dim: int, act_dim: int, *, lr: float = 1e-3) -> fp.Agent:
    """A Gaussian policy that climbs a critic."""
    actor = fp.GaussianActor(obs_dim, act_dim, hidden=(8,))
    critic = fp.CriticEnsemble(obs_dim, act_dim, hidden=(8,))
    target = fp.TargetNetwork(critic)
    losses = [fp.DPGLoss(actor, critic), fp.TDLoss(critic, target, next_actor=actor)]
    return fp.Agent(policy=actor, losses=losses, optimizer=partial(torch.optim.Adam, lr=lr))


@pytest.mark.parametrize(("name", "sampled"), [("fql", False), ("qam", True)])
def test_the_protocol_decides_what_is_played_of_a_gaussian_policy(
    tmp_path, monkeypatch, name, sampled
):
    monkeypatch.setitem(RECIPES, "gaussian", gaussian)
    config = TINY.replace(
        agent="gaussian",
        options={},
        offline_steps=2,
        eval_actors=("policy",),
        checkpoint_every=0,
        protocol=name,
    )
    played = []

    def watched(actor, *arguments, **options):
        played.append(actor)
        return evaluate(actor, *arguments, **options)

    monkeypatch.setattr("flowpolicy.train.run.evaluate", watched)
    folder = train(config, tmp_path / "r", progress=False)
    assert TrainConfig.from_dict(folder.config()).protocol == name
    loaded = PROTOCOLS[name].acting(fp.load_policy(folder.path))
    observation = torch.zeros(2, 2)
    for actor in (*played, loaded):
        draws = [actor.act(observation, actor.draw_noise(observation)) for _ in range(2)]
        assert torch.equal(*draws) is not sampled
    with pytest.raises(ConfigError, match="unknown protocol 'fqll'; did you mean 'fql'"):
        config.replace(protocol="fqll")


def test_flow_policies_are_sampled_by_every_protocol():
    actor = fp.OneStepActor(2, 2, hidden=(8,))
    assert all(rules.acting(actor) is actor for rules in PROTOCOLS.values())


def test_a_protocol_of_ones_own():
    rules = Protocol(name="mine", last=2, episodes=5, seeds=1)
    assert rules.select([1, 2, 3], 3) == (2, 3)
