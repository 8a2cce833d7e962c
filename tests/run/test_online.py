"""One loop from the data into the environment, and back into it after a stop."""

from __future__ import annotations

import csv
import dataclasses
import signal

import pytest
import torch

from flowpolicy.agents import Agent
from flowpolicy.checkpoint.agent_files import ONLINE
from flowpolicy.checkpoint.contents import tensors_in
from flowpolicy.cli import main
from flowpolicy.data import Dataset, transforms
from flowpolicy.errors import CheckpointError, ConfigError, DataError
from flowpolicy.modules import OneStepActor
from flowpolicy.plot.curve import switches
from flowpolicy.results import read_points
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import ONLINE_PROTOCOLS, Stopped, train
from flowpolicy.train.experience import BalancedExperience, PooledExperience
from flowpolicy.train.interaction import Interaction
from flowpolicy.train.online import policy_action, uniform_action
from flowpolicy.train.phases import OnlinePhase
from tests.run.conftest import MAZE, TINY
from tests.run.pictures import read_picture
from tests.run.pole import POLE, SHORT, pole_data


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def interaction_of(data: Dataset, **options) -> Interaction:
    torch.manual_seed(0)
    actor = OneStepActor(data.obs_dim, data.act_dim, hidden=(8,))
    return Interaction(POLE, actor, data, generator(), seed=0, **options)


def played(interaction: Interaction, steps: int, explore=policy_action) -> list:
    made = [interaction.step(explore) for _ in range(steps)]
    interaction.close()
    return made


@pytest.fixture(scope="module")
def online_run(tmp_path_factory, data) -> RunFolder:
    """A run through both phases; read-only."""
    return train(SHORT, tmp_path_factory.mktemp("online") / "run", dataset=data, progress=False)


# --- rows ----------------------------------------------------------------------------------------


def test_a_step_is_a_row_of_the_data(data):
    made = played(interaction_of(data), 40)
    like = data.take(torch.tensor([0]))
    for row in made:
        assert {k: (v.shape, v.dtype) for k, v in row.items(True, True)} == {
            k: (v.shape, v.dtype) for k, v in like.items(True, True)
        }
    joined = torch.cat(made)
    first = int(data.entries()["episode"].max()) + 1
    ends = joined["next", "done"].squeeze(1).long()
    assert ends.any()
    torch.testing.assert_close(joined["episode"], first + ends.cumsum(0) - ends)
    inside = ~joined["next", "done"].squeeze(1)[:-1]
    torch.testing.assert_close(
        joined["next", "observation"][:-1][inside], joined["observation"][1:][inside]
    )


def test_a_time_limit_truncates_and_a_fall_terminates(data):
    limited = torch.cat(played(interaction_of(data, max_episode_steps=2), 6))
    assert limited["next", "truncated"].flatten().tolist() == [False, True] * 3
    assert not limited["next", "terminated"].any()
    fallen = torch.cat(played(interaction_of(data), 60))
    ends = fallen["next", "done"]
    torch.testing.assert_close(fallen["next", "terminated"], ends)
    assert not fallen["next", "truncated"].any()


def test_observations_have_the_scale_of_the_data(data):
    mean, std = torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 3, 4, 5])
    plain = played(interaction_of(data), 5, uniform_action)
    scaled = played(
        interaction_of(data, observation_mean=mean, observation_std=std), 5, uniform_action
    )
    for one, other in zip(plain, scaled, strict=True):
        for key in ("observation", ("next", "observation")):
            torch.testing.assert_close(other[key], (one[key] - mean) / std)
        torch.testing.assert_close(other["action"], one["action"])


TRANSFORMS = {
    "n-step": lambda data: transforms.n_step(data, n=3, discount=0.9),
    "chunks": lambda data: transforms.chunk(data, horizon=3, discount=0.9),
    "next action": transforms.with_next_action,
    "n-step with next action": lambda data: transforms.n_step(
        transforms.with_next_action(data), n=3, discount=0.9
    ),
    "chunks with next action": lambda data: transforms.with_next_action(
        transforms.chunk(data, horizon=3, discount=0.9)
    ),
}


@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("ignore:(n_step|chunk). .*of the rows")
def test_rows_are_those_of_the_transform(data, name, limit):
    """The same environment and forces, told as single steps and as what the data are made of."""
    transform = TRANSFORMS[name]
    forces = torch.rand(40, 1, generator=generator(3)) * 2 - 1

    def collected(kind: Dataset):
        interaction = interaction_of(kind, max_episode_steps=limit)
        waiting = iter(forces)
        horizon = kind.info.horizon

        def explore(*_):  # the same force at every step, whatever is left of a chunk
            interaction._acting.forget()
            return next(waiting).expand(horizon)

        made = []
        for _ in range(40):
            interaction._acting.forget()
            made.append(interaction.step(explore))
        interaction.close()
        return torch.cat([each for each in made if each is not None])

    recorded = transform(Dataset.from_tensordict(collected(data)))
    rows = collected(transform(data))
    # What the future must complete has not appeared: the last next actions are not known.
    assert len(recorded) - 6 <= len(rows) <= len(recorded)
    assert len(rows) > 5
    expected = recorded.take(torch.arange(len(rows)))
    assert set(rows.keys(True, True)) == set(expected.keys(True, True))
    for key in rows.keys(True, True):
        torch.testing.assert_close(rows[key], expected[key])


def test_chunks_are_played_to_their_end_or_the_episodes(data):
    chunks = transforms.chunk(data, horizon=3, discount=0.9)
    asked = []

    def explore(*_):
        asked.append(len(asked))
        return torch.tensor([0.1, 0.2, 0.3])

    interaction = interaction_of(chunks, max_episode_steps=4)
    seen = []
    for _ in range(8):
        interaction.step(explore)
        seen.append(round(float(interaction._stages[0]._recent[-1]["action"]), 1))
    interaction.close()
    assert seen == [0.1, 0.2, 0.3, 0.1] * 2
    assert len(asked) == 4


def test_rewards_have_the_timing_of_the_data():
    from flowpolicy.train.interaction import online_env

    for timing in ("pre", "post"):
        env = online_env(MAZE, timing=timing, max_episode_steps=None)
        assert env.unwrapped._success_timing == timing
        env.close()


def test_what_is_not_finite_is_refused(data, monkeypatch):
    interaction = interaction_of(data)
    played_first = interaction.step(policy_action)
    assert played_first is not None
    monkeypatch.setattr(
        "flowpolicy.train.interaction._Acting.forward",
        lambda _, step: step.set("action", torch.full_like(step["observation"][..., :1], 0.1)),
    )
    frame = next(interaction._frames).clone()
    frame["next", "observation"][0, 1] = float("nan")
    interaction._frames = iter([frame])
    with pytest.raises(DataError, match=r", online step 2: \('next', 'observation'\): 1 of 1 rows"):
        interaction.step(policy_action)
    interaction.close()


def test_data_that_an_environment_cannot_go_on_with_are_refused(data, out):
    more = Dataset({**data.entries(), "weight": torch.ones(len(data), 1)}, data.info)
    with pytest.raises(ConfigError, match="the data have 'weight', which no environment gives"):
        train(SHORT, out, dataset=more, progress=False)
    assert not out.exists()


# --- buffers -------------------------------------------------------------------------------------


def test_the_pool_holds_data_and_online_rows(data):
    pool = PooledExperience(data, 5, generator())
    new = data.take(torch.tensor([3, 4]))
    new["observation"] += 100
    pool.append(new)
    assert (len(pool), len(pool.buffer)) == (2, len(data) + 2)
    torch.testing.assert_close(pool.buffer[: len(data)]["action"], data.entries()["action"])
    torch.testing.assert_close(pool.online()["observation"], new["observation"])
    batch = pool.sample(20_000)
    assert set(batch.keys(True, True)) == set(data.sample(1).keys(True, True))
    share = (batch["observation"][:, 0] > 50).float().mean().item()
    expected = 2 / (len(data) + 2)
    assert abs(share - expected) < 4 * (expected / 20_000) ** 0.5


def test_a_balanced_batch_is_half_data_half_online(data):
    balanced = BalancedExperience(data, 5, generator())
    assert not balanced.ready
    new = data.take(torch.tensor([3]))
    new["observation"] += 100
    balanced.append(new)
    batch = balanced.sample(16)
    assert (batch["observation"][:, 0] > 50).tolist() == [False] * 8 + [True] * 8
    assert set(batch.keys(True, True)) == set(data.sample(1).keys(True, True))


@pytest.mark.parametrize("kind", [PooledExperience, BalancedExperience])
def test_a_buffer_goes_on_from_its_state(data, kind):
    one, other = kind(data, 5, generator(1)), kind(data, 5, generator(1))
    assert one.state() == {}
    one.append(data.take(torch.tensor([5, 6, 7])))
    other.load(one.state(), "checkpoint")
    torch.testing.assert_close(one.sample(64), other.sample(64))
    with pytest.raises(CheckpointError, match=r"checkpoint: its online transitions do not fit"):
        kind(data, 5, generator()).load({"action": torch.zeros(3, 7)}, "checkpoint")


def test_batches_are_repeated_by_their_generator(data):
    def draw(seed):
        return PooledExperience(data, 1, generator(seed)).sample(8)["observation"]

    torch.testing.assert_close(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


# --- protocols -----------------------------------------------------------------------------------


def test_a_warm_up_has_no_updates(data):
    torch.manual_seed(0)
    actor = OneStepActor(data.obs_dim, data.act_dim, hidden=(8,))
    for parameter in actor.parameters():
        torch.nn.init.zeros_(parameter)
    for name, warms_up_with_policy in (("qam", True), ("rlpd_qam", False)):
        protocol = dataclasses.replace(ONLINE_PROTOCOLS[name], warmup_steps=4)
        phase = OnlinePhase(
            protocol,
            Interaction(POLE, actor, data, generator(), seed=0),
            protocol.experience(data, 6, generator()),
        )
        assert [phase.advance() for _ in range(6)] == [False] * 4 + [True] * 2
        actions = phase.experience.online()["action"].flatten()
        phase.close()
        assert (actions[:4] == 0).all().item() is warms_up_with_policy
        assert (actions[4:] == 0).all()
    assert ONLINE_PROTOCOLS["qam"].warmup_steps == 5000
    assert ONLINE_PROTOCOLS["fql"].warmup_steps == ONLINE_PROTOCOLS["rlpd"].warmup_steps == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"online_protocol": "fq"}, "unknown online protocol 'fq'; did you mean 'fql'"),
        ({"online_protocol": "rlpd"}, "has no offline phase: set offline_steps to 0, got 10"),
        (
            {"online_protocol": "rlpd", "offline_steps": 0, "batch_size": 7},
            "from 2 equal parts: batch_size must be a multiple of that, got 7",
        ),
        ({"online_protocol": "qam"}, "no update in its first 5000 online steps: .*, got 30"),
        ({"online_steps": -1}, "online_steps must be at least 0, got -1"),
        ({"online_steps": 0, "offline_steps": 0}, "offline_steps must be at least 1 without"),
    ],
)
def test_impossible_online_runs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        SHORT.replace(**changes)


def test_actions_with_other_bounds_are_refused(data, out):
    info = dataclasses.replace(data.info, action_low=(-2.0,), action_high=(2.0,))
    other = Dataset(data.entries(), info)
    with pytest.raises(
        ConfigError, match=r"between \[-2.0\] and \[2.0\], those of .* \[3.0\]; eva"
    ):
        train(SHORT, out, dataset=other, progress=False)
    with pytest.raises(
        ConfigError, match=r"between \[-2.0\] and \[2.0\], those of .* \[3.0\]; eva"
    ):
        train(SHORT.replace(online_steps=0), out, dataset=other, progress=False)
    assert not out.exists()


def test_windows_that_were_cut_elsewhere_are_refused(data, out):
    entries = {**data.entries(), "steps_to_next_obs": torch.full((len(data), 1), 3)}
    with pytest.raises(ConfigError, match="its rows are windows of several steps that were cut el"):
        train(SHORT, out, dataset=Dataset(entries, data.info), progress=False)
    assert not out.exists()


@pytest.mark.parametrize(
    ("n_step", "error", "told"),
    [
        (1, ConfigError, "the data have 'valid', which no environment gives"),
        (3, DataError, "n_step: the rows of '.*' have 'valid', which tells of chunks"),
    ],
)
def test_steps_with_a_mark_of_chunks_are_refused(data, out, n_step, error, told):
    entries = {**data.entries(), "valid": torch.ones(len(data), 1, dtype=torch.bool)}
    config = SHORT.replace(n_step=n_step)
    with pytest.raises(error, match=told):
        train(config, out, dataset=Dataset(entries, data.info), progress=False)


@pytest.mark.parametrize("kind", [PooledExperience, BalancedExperience])
def test_rows_without_an_entry_of_the_data_are_refused(data, kind):
    experience = kind(transforms.n_step(data, n=3, discount=0.9), 5, generator())
    with pytest.raises(DataError, match="entries of 'pole' and no others; 'steps_to_next_obs' is"):
        experience.append(data.take(torch.tensor([0])))


# --- the loop ------------------------------------------------------------------------------------


def test_one_table_goes_through_both_phases(online_run):
    steps = [(int(r["step"]), int(r["env_steps"])) for r in rows(online_run.metrics)]
    assert steps == [(5, 0), (10, 0), *((10 + n, n) for n in range(5, 31, 5))]
    evaluated = [(int(r["step"]), int(r["env_steps"])) for r in rows(online_run.evaluations)]
    assert evaluated == [(10, 0), (20, 10), (40, 30)]
    assert online_run.checkpoints.steps() == [20, 30, 40]
    saved = tensors_in(online_run.checkpoints.read().files, ONLINE, "checkpoint")
    assert saved["rows/observation"].shape == (30, 4)
    assert saved["counters/steps"] == 30


def test_balanced_learning_starts_without_an_offline_phase(data, out):
    config = SHORT.replace(
        online_protocol="rlpd", offline_steps=0, online_steps=6, eval_every=0, n_step=3
    )
    folder = train(config, out, dataset=data, progress=False)
    # No window is full before the third step.
    assert [(r["step"], r["env_steps"]) for r in rows(folder.evaluations)] == [("4", "6")]


@pytest.mark.parametrize(
    ("agent", "options", "horizon"),
    [
        ("ifql", {**SHORT.options, "proposals": 4}, 1),
        ("flow_bc", SHORT.options, 3),
        ("rebrac", {"hidden": (16, 16)}, 1),
    ],
)
def test_other_agents_go_online_too(data, out, agent, options, horizon):
    config = SHORT.replace(
        agent=agent,
        options=options,
        horizon=horizon,
        online_steps=10,
        normalize_observations=True,
    )
    folder = train(config, out, dataset=data, progress=False)
    assert rows(folder.evaluations)[-1]["env_steps"] == "10"


def test_the_curve_shows_where_it_went_online(online_run, data, out):
    assert read_picture(online_run.curve).has_color("#8A8A8A")
    (seeds,) = read_points(online_run).values()
    assert switches(seeds) == {10}
    offline = SHORT.replace(online_steps=0)
    plain = train(offline, out, dataset=data, progress=False)
    (seeds,) = read_points(plain).values()
    assert switches(seeds) == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_environment_teaches_what_the_data_do_not(out, seed):
    """As many updates with and without it: the pole stays up longer where it was tried out."""
    learning = {"hidden": (32, 32), "flow_steps": 3, "lr": 3e-3, "alpha": 0.3, "tau": 0.02}
    config = SHORT.replace(
        options=learning,
        seed=seed,
        batch_size=64,
        discount=0.97,
        eval_every=0,
        eval_episodes=10,
        max_episode_steps=200,
        checkpoint_every=0,
        threads=1,
    )
    data = pole_data(1000)
    returns = []
    for offline, online in ((1500, 0), (500, 1000)):
        folder = train(
            config.replace(offline_steps=offline, online_steps=online),
            out.with_name(f"online{online}"),
            dataset=data,
            progress=False,
        )
        returns.append(float(rows(folder.evaluations)[-1]["return"]))
    assert returns[1] > 1.3 * returns[0]


# --- going on ------------------------------------------------------------------------------------


def stopping_at(update: int, monkeypatch) -> None:
    """Ctrl-C in the middle of this update."""
    original = Agent.update

    def replacement(agent, batch):
        metrics = original(agent, batch)
        if agent.step == update:
            signal.raise_signal(signal.SIGINT)
        return metrics

    monkeypatch.setattr(Agent, "update", replacement)


def interrupted(config, out, data, update) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        stopping_at(update, patch)
        with pytest.raises(Stopped):
            train(config, out, dataset=data, progress=False)
    return RunFolder.open(out)


def same_model(one: RunFolder, other: RunFolder, step: int) -> bool:
    files = [folder.checkpoints.read(step).files for folder in (one, other)]
    names = ("model.safetensors", "optimizer.safetensors", "rng.safetensors")
    return all(files[0][name] == files[1][name] for name in names)


def without_times(path):
    return [{k: v for k, v in r.items() if k not in ("seconds", "rate")} for r in rows(path)]


def test_offline_a_resumed_run_is_the_undisturbed_one(data, out):
    config = SHORT.replace(online_steps=0, offline_steps=30)
    whole = train(config, out, dataset=data, progress=False)
    for update in (10, 17):  # at a checkpoint, and between two
        broken = interrupted(config, out.with_name(f"broken{update}"), data, update)
        said = []
        train(config, broken.path, dataset=data, resume=True, progress=False, announce=said.append)
        assert said[-1] == f"resumed at update {update}"
        assert same_model(whole, broken, 30)
        assert without_times(whole.metrics) == without_times(broken.metrics)
        assert without_times(whole.evaluations) == without_times(broken.evaluations)


def test_a_killed_run_repeats_what_came_after_its_checkpoint(data, out):
    """As left by a kill at update 25: rows of the future, half a row, a damaged checkpoint."""
    config = SHORT.replace(online_steps=0, offline_steps=30)
    whole = train(config, out, dataset=data, progress=False)
    tables = [without_times(path) for path in (whole.metrics, whole.evaluations)]
    (whole.checkpoints.path(30) / "model.safetensors").write_bytes(b"")
    (whole.checkpoints.path(20) / "model.safetensors").write_bytes(b"")
    with whole.metrics.open("a") as file:
        file.write("31,0,1.0")
    with pytest.warns(UserWarning, match="model.safetensors has 0 bytes"):
        train(config, out, dataset=data, resume=True, progress=False)
    assert tables == [without_times(path) for path in (whole.metrics, whole.evaluations)]
    assert whole.checkpoints.read(30)


def test_across_the_switch_a_resumed_run_goes_on(data, out, online_run):
    broken = interrupted(SHORT, out, data, 10)  # the last offline update
    train(SHORT, out, dataset=data, resume=True, progress=False)
    assert same_model(online_run, broken, 40)  # no episode was interrupted: nothing differs
    assert without_times(online_run.metrics) == without_times(broken.metrics)
    assert without_times(online_run.evaluations) == without_times(broken.evaluations)


def test_online_a_resumed_run_begins_an_episode(data, out, online_run):
    broken = interrupted(SHORT, out, data, 23)
    saved = tensors_in(broken.checkpoints.read(23).files, ONLINE, "checkpoint")
    said = []
    train(SHORT, out, dataset=data, resume=True, progress=False, announce=said.append)
    assert said[-1] == "resumed at update 23, online step 13, where another episode begins"
    after = tensors_in(broken.checkpoints.read(40).files, ONLINE, "checkpoint")
    assert len(after["rows/observation"]) == 30
    for name in ("observation", "action", "next.reward", "episode"):
        torch.testing.assert_close(after[f"rows/{name}"][:13], saved[f"rows/{name}"])
    assert after["rows/episode"][13] == saved["rows/episode"][-1] + 1
    steps = [(r["step"], r["env_steps"]) for r in rows(broken.metrics)]
    assert steps == [(r["step"], r["env_steps"]) for r in rows(online_run.metrics)]


def test_another_run_is_not_resumed(data, out, online_run):
    with pytest.raises(ConfigError, match="is a run with seed 0, not 1; resume it with"):
        train(SHORT.replace(seed=1), online_run.path, dataset=data, resume=True)
    with pytest.raises(ConfigError, match="on data with transitions 300, these have 200; resume"):
        train(SHORT, online_run.path, dataset=pole_data(200), resume=True, progress=False)
    with pytest.raises(ConfigError, match="there is no run folder"):
        train(SHORT, out, dataset=data, resume=True)
    RunFolder.create(out, {**SHORT.to_dict(), "seeds": [0, 1]})
    seed = RunFolder.create(out / "seed_0", SHORT.to_dict())
    seed.write_json("data.json", data.info.to_dict())
    with pytest.raises(
        ConfigError, match="holds several runs; start .*, or resume each by itself: .*seed_0"
    ):
        train(SHORT, out, dataset=data, resume=True)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        train(SHORT, seed.path, dataset=data, resume=True, progress=False)


def test_another_number_of_threads_is_mentioned(data, online_run, tmp_path):
    import shutil

    shutil.copytree(online_run.path, tmp_path / "copy", symlinks=True)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        with pytest.warns(UserWarning, match="had another number of threads"):
            train(SHORT, tmp_path / "copy", dataset=data, resume=True, progress=False)
    finally:
        torch.set_num_threads(before)


def test_the_command_goes_on_with_a_run(out, capsys):
    config = TINY.replace(offline_steps=10, online_steps=10, max_episode_steps=5, n_step=2)
    with pytest.MonkeyPatch.context() as patch:
        stopping_at(13, patch)
        with pytest.raises(Stopped):
            train(config, out, progress=False)
    assert main(["train", "--resume", str(out)]) == 0
    said = capsys.readouterr().out
    assert "resumed at update 13, online step 3, where another episode begins" in said
    assert "over 3 episodes after 10 updates\n" in said
    assert "over 3 episodes after 20 updates and 10 online steps" in said
    assert main(["train", "--resume", str(out / "missing")]) == 2
