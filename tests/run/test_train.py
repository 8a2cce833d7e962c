"""A run writes what it did, and stops where it must."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import sys
import time
from functools import partial, partialmethod

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from safetensors.torch import load_file
from tensordict import TensorDict
from torch._dynamo.exc import TorchDynamoException

from flowpolicy.agents import RECIPES, Agent, AgentStack
from flowpolicy.checkpoint import Checkpoints, DeployedPolicy, load_policy
from flowpolicy.data import Dataset, DatasetInfo, transforms
from flowpolicy.errors import ConfigError, FlowPolicyError
from flowpolicy.evaluate import evaluate, wilson_interval
from flowpolicy.functional import min_value
from flowpolicy.modules import OneStepActor
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import (
    DivergedError,
    Stopped,
    TrainConfig,
    train,
    train_seeds,
    train_together,
    versions,
)
from flowpolicy.train.precision import products_in
from flowpolicy.train.processes import train_all
from flowpolicy.train.records import CsvFile, TensorBoard
from flowpolicy.train.seeds import RunsFailedError
from flowpolicy.train.stages import stages_of
from flowpolicy.train.stop import AgreedStop, StopRequest
from flowpolicy.train.task import _require_bounds, load_dataset
from tests.run.conftest import MAZE, TINY
from tests.run.pictures import read_picture


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_everything(finished_run):
    names = {p.name for p in finished_run.path.iterdir()}
    assert names == {
        ".lock",
        "checkpoints",
        "config.json",
        "curve.png",
        "data.json",
        "eval.csv",
        "metrics.csv",
        "tensorboard",
        "versions.json",
    }
    assert TrainConfig.from_dict(finished_run.config()) == TINY.replace(tensorboard=True)
    assert finished_run.read_json("data.json")["n_step"] == 2
    assert finished_run.checkpoints.steps() == [10, 20]
    assert list((finished_run.path / "tensorboard").glob("events.*"))


def test_metrics_have_a_row_for_every_read(finished_run):
    table = rows(finished_run.metrics)
    assert [int(row["step"]) for row in table] == [5, 10, 15, 20]
    losses = {name for name in table[0] if name.startswith("loss_")}
    assert losses == {"loss_qvalue", "loss_flow", "loss_distill", "loss_dpg", "loss_distill_dual"}
    assert all(float(row[name]) == float(row[name]) for row in table for name in losses)
    assert all(float(row["rate"]) > 0 for row in table)


def test_evaluations_have_a_row_for_every_actor(finished_run):
    table = rows(finished_run.evaluations)
    assert [(int(row["step"]), row["actor"]) for row in table] == [
        (10, "policy"),
        (10, "flow"),
        (20, "policy"),
        (20, "flow"),
    ]
    low, high = wilson_interval(0, 3)
    for row in table:
        assert (float(row["success"]), int(row["successes"]), int(row["episodes"])) == (0, 0, 3)
        assert (float(row["low"]), float(row["high"])) == (low, high)
        assert (float(row["return"]), float(row["length"])) == (-15.0, 15.0)


def test_the_curve_is_a_picture(finished_run):
    picture = read_picture(finished_run.curve)
    assert picture.width >= 1200
    assert picture.height >= 700
    assert picture.has_color("#0072B2")
    assert picture.has_color("#D55E00")


def test_the_data_are_named_with_their_origin(finished_run, out):
    assert finished_run.read_json("data.json")["origin"] == "embedded"
    said = []
    config = TINY.replace(offline_steps=1, eval_actors=("policy",))
    train(config, out, progress=False, announce=said.append)
    assert said == [f"data: {MAZE} (embedded), 189,815 transitions in windows of up to 2 steps"]


@pytest.mark.parametrize("call", [train, partial(train_seeds, seeds=(0,))])
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(out, call):
    with pytest.raises(ConfigError, match="device 'cuda:99' was asked for, but PyTorch finds"):
        call(TINY.replace(device="cuda:99"), out=out, progress=False)
    assert not out.exists()


def pendulum_data(n=40, **changes):
    g = torch.Generator().manual_seed(0)
    path = torch.randn(n + 1, 3, generator=g)
    after = TensorDict(
        {
            "observation": path[1:],
            "reward": torch.randn(n, 1, generator=g),
            "terminated": torch.zeros(n, 1, dtype=torch.bool),
        },
        batch_size=[n],
    )
    entries = {
        "observation": path[:-1],
        "action": torch.rand(n, 1, generator=g) * 4 - 2,
        "episode": torch.arange(n) // 10,
        "next": after,
    }
    return TensorDict({**entries, **changes}, batch_size=[n])


def test_own_data_with_actions_in_their_own_units(out):
    dataset = Dataset.from_tensordict(
        pendulum_data(), info=DatasetInfo(name="swing"), action_low=-2, action_high=2
    )
    config = TINY.replace(
        env="Pendulum-v1",
        offline_steps=5,
        eval_episodes=1,
        checkpoint_every=0,
        eval_actors=("policy",),
    )
    said = []
    folder = train(config, out, dataset=dataset, progress=False, announce=said.append)
    assert said == ["data: swing (in memory), 36 transitions in windows of up to 2 steps"]
    assert folder.read_json("data.json")["action_high"] == [2.0]
    policy = load_policy(folder.path)
    assert isinstance(policy, DeployedPolicy)
    observation, noise = torch.randn(64, 3) * 5, torch.randn(64, 1)
    action = policy.act(observation, noise)
    real = policy.environment_action(action)
    torch.testing.assert_close(real, 2 * action)
    assert real.abs().max() <= 2
    result = evaluate(policy, "Pendulum-v1", episodes=1, max_steps=TINY.max_episode_steps)
    assert result.mean_return == pytest.approx(float(rows(folder.evaluations)[0]["return"]))


@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_bounds_are_compared_in_the_precision_of_the_environment(scale):
    space = Box(-0.4, 0.4, (1,), np.float32)
    action = scale * (torch.rand(40, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    bare = Dataset.from_tensordict(pendulum_data(action=action))
    if scale == 1.0:
        _require_bounds(bare, "Small-v0", space)
    else:
        with pytest.warns(UserWarning, match="no action of 'unnamed' lies outside the bounds of S"):
            _require_bounds(bare, "Small-v0", space)
    unit = action * 0.4 / scale
    known = Dataset.from_tensordict(pendulum_data(action=unit), action_low=-0.4, action_high=0.4)
    _require_bounds(known, "Small-v0", space)


def test_chunks_are_compared_with_bounds_step_by_step():
    space = Box(np.float32([-0.4, -1.0]), np.float32([0.4, 1.0]))
    small = Dataset.from_tensordict(pendulum_data(action=torch.full((40, 6), 0.3)))
    with pytest.warns(UserWarning, match="no action of 'unnamed' lies outside the bounds of S"):
        _require_bounds(small, "Small-v0", space)
    fills = torch.full((40, 6), 0.3)
    fills[7, 4] = 0.9  # the first component of the third step
    _require_bounds(Dataset.from_tensordict(pendulum_data(action=fills)), "Small-v0", space)


def test_own_data_of_another_environment_are_refused(out):
    dataset = Dataset.from_tensordict(pendulum_data(), action_low=-2, action_high=2)
    with pytest.raises(
        ConfigError, match=f"observations of 'unnamed' have 3 components, those of {MAZE} 2; eval"
    ):
        train(TINY, out, dataset=dataset, progress=False)
    wide = Dataset.from_tensordict(pendulum_data(action=torch.zeros(40, 2)))
    with pytest.raises(ConfigError, match="actions of 'unnamed' have 2 components, .*-v1 1; eval"):
        train(TINY.replace(env="Pendulum-v1"), out, dataset=wide, progress=False)
    windows = transforms.n_step(dataset, 2, 0.5)
    with pytest.raises(ConfigError, match="were summed with discount 0.5, the run has 0.99; both"):
        train(TINY.replace(env="Pendulum-v1", n_step=1), out, dataset=windows, progress=False)
    assert not out.exists()


@pytest.mark.timeout(300)
def test_seeds_say_once_what_each_of_them_would_say(out):
    config = TINY.replace(n_step=600, offline_steps=1, eval_episodes=1, eval_actors=("policy",))
    said = []
    with pytest.warns(UserWarning, match=r"n_step: \d\d% of the rows of .* are dropped") as heard:
        train_seeds(config, (0, 1), out, progress=False, announce=said.append)
    assert len(heard) == len(said) == 1
    assert said[0].startswith(f"data: {MAZE} (embedded), ")


@pytest.mark.parametrize("agent", ["bc", "flow_bc"])
def test_windows_are_cut_only_where_a_loss_reads_rewards(agent):
    dataset, _ = load_dataset(TINY.replace(agent=agent, options={}, n_step=600))
    assert (len(dataset), dataset.info.n_step) == (190_000, 1)
    assert stages_of(dataset) == []  # of online steps


def test_a_stopped_run_knows_whether_it_had_learned(out, monkeypatch):
    import signal

    def stops(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("flowpolicy.train.run.evaluate", stops)
    config = TINY.replace(checkpoint_every=0)
    with pytest.raises(Stopped) as early:
        train(config.replace(eval_at_start=True), out, progress=False)
    assert not early.value.saved
    assert Checkpoints(out / "checkpoints").steps() == []
    with pytest.raises(Stopped) as late:
        train(config, out.with_name("late"), progress=False)
    assert late.value.saved
    assert Checkpoints(out.with_name("late") / "checkpoints").steps() == [10]


def test_versions_tell_with_what(finished_run):
    saved = finished_run.read_json("versions.json")
    assert saved["packages"]["torch"] == torch.__version__
    assert saved["python"] == sys.version.split()[0]
    assert {"torchrl", "tensordict", "numpy", "mujoco", "ogbench"} <= set(saved["packages"])
    assert saved["threads"] == torch.get_num_threads()
    assert set(versions()) == set(saved)


def test_the_same_seed_gives_the_same_run(out):
    config = TINY.replace(eval_every=0, eval_episodes=1, checkpoint_every=0, offline_steps=6)
    folders = [train(config, out.with_name(name), progress=False) for name in ("a", "b")]
    one, two = (folder.checkpoints.read().files for folder in folders)
    assert one["model.safetensors"] == two["model.safetensors"]
    assert one["optimizer.safetensors"] == two["optimizer.safetensors"]
    other = train(config.replace(seed=1), out, progress=False).checkpoints.read().files
    assert one["model.safetensors"] != other["model.safetensors"]


def test_a_folder_that_exists_is_refused_before_anything_is_loaded(out, monkeypatch):
    out.mkdir()
    monkeypatch.setattr("flowpolicy.data.load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match="run folder .* exists already; go on with it by"):
        train(TINY, out, progress=False)


def test_an_unknown_actor_is_refused_before_a_folder_is_made(out):
    with pytest.raises(ConfigError, match="unknown actor of fql 'flw'; did you mean 'flow'"):
        train(TINY.replace(eval_actors=("flw",)), out, progress=False)
    assert not out.exists()


def test_an_unknown_environment_is_refused_before_a_folder_is_made(out):
    with pytest.raises(FlowPolicyError, match="pointmaze-medium-navigate-singletask"):
        train(TINY.replace(env=MAZE.replace("medium", "medum")), out, progress=False)
    assert not out.exists()


def poisoned(at, upto=math.inf):
    """An update whose batches have an action that is not a number."""
    update = Agent.update

    def replacement(agent: Agent, batch: TensorDict) -> TensorDict:
        if at <= agent.step + 1 <= upto:
            batch["action"][3] = math.nan
        return update(agent, batch)

    return replacement


def test_updates_that_are_skipped_one_after_the_other_stop_the_run(out, monkeypatch):
    """With the batch and what was wrong with it."""
    monkeypatch.setattr(Agent, "update", poisoned(12))
    with (
        pytest.raises(DivergedError) as error,
        pytest.warns(UserWarning, match="4 of 15, the latest 4 among them, up to update 15"),
    ):
        train(TINY.replace(offline_steps=40, max_skips=5), out, progress=False)
    assert re.match(
        r"the latest 9 updates up to update 20 were skipped, because a loss or the gradient was "
        r"not finite: the entry 'action' of the batch is nan in row 3\. The batch is in .*/"
        r"bad_batch\.safetensors; the last good checkpoint is .*step_00000010\. Look at",
        str(error.value),
    )
    assert Checkpoints(out / "checkpoints").steps() == [10]
    table = rows(out / "metrics.csv")
    assert [float(row["skipped"]) for row in table] == [0, 0, 4, 9]
    assert table[-1]["loss_flow"] == table[-1]["grad_norm"] == "nan"
    batch = load_file(out / "bad_batch.safetensors")
    assert batch["action"][3].isnan().all()
    assert batch["next.reward"].shape == (TINY.batch_size, 1)


def test_without_a_checkpoint_it_says_so(out, monkeypatch):
    monkeypatch.setattr(Agent, "update", poisoned(1))
    with (
        pytest.raises(DivergedError, match="no checkpoint had been written"),
        pytest.warns(UserWarning, match="5 of 5"),
    ):
        train(TINY.replace(eval_every=0, checkpoint_every=0), out, progress=False)


def test_a_run_that_never_learned_anything_fails_however_short(out, monkeypatch):
    monkeypatch.setattr(Agent, "update", poisoned(1))
    config = TINY.replace(offline_steps=3, eval_every=0, checkpoint_every=0)
    with pytest.raises(DivergedError, match="the latest 3 updates up to update 3"):
        train(config, out, progress=False)


def test_a_single_skipped_update_is_warned_of_once(out, monkeypatch):
    monkeypatch.setattr(Agent, "update", poisoned(3, 3))
    config = TINY.replace(eval_every=0, checkpoint_every=0)
    with pytest.warns(UserWarning, match="not finite: 1 of 5 up to update 5; see") as caught:
        train(config, out, progress=False)
    assert len(caught) == 1
    assert {row["skipped"] for row in rows(out / "metrics.csv")} == {"1.0"}
    assert not (out / "bad_batch.safetensors").exists()


def test_a_skipped_update_at_the_very_end_does_not_go_unnoticed(out, monkeypatch):
    monkeypatch.setattr(Agent, "update", poisoned(TINY.offline_steps))
    config = TINY.replace(eval_every=0, checkpoint_every=0)
    with pytest.warns(UserWarning, match="1 of 20, the latest 1 among them, up to update 20"):
        train(config, out, progress=False)
    assert Checkpoints(out / "checkpoints").steps() == [TINY.offline_steps]


def test_metrics_are_read_only_now_and_then(out, monkeypatch):
    reads = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: reads.append(1) or tolist(x))
    config = TINY.replace(offline_steps=20, log_every=10, eval_every=0, checkpoint_every=0)
    train(config, out, progress=False)
    assert len(reads) == 2


@pytest.mark.timeout(300)
def test_seeds_are_trained_in_processes_and_shown_together(out):
    config = TINY.replace(offline_steps=10, eval_actors=("policy",))
    folder = train_seeds(config, (0, 3), out, jobs=2, progress=False)
    assert [seed.path.name for seed in folder.seeds()] == ["seed_0", "seed_3"]
    assert [seed.config()["seed"] for seed in folder.seeds()] == [0, 3]
    assert all(seed.config()["threads"] == 1 for seed in folder.seeds())
    assert folder.config()["seeds"] == [0, 3]
    one, two = (seed.checkpoints.read().files["model.safetensors"] for seed in folder.seeds())
    assert one != two
    assert read_picture(folder.curve).has_color("#0072B2")


@pytest.mark.timeout(300)
def test_a_failing_seed_is_named(out):
    config = TINY.replace(eval_actors=("flw",))
    with pytest.raises(RunsFailedError, match="1 of 1 seeds failed; seed 4: unknown actor of fql"):
        train_seeds(config, (4,), out, progress=False)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_differ(out, seeds):
    with pytest.raises(ConfigError, match="seeds must be different numbers, at least one, got"):
        train_seeds(TINY, seeds, out)


def test_seeds_in_one_program_are_the_runs_of_each(out):
    config = TINY.replace(offline_steps=10, eval_every=5)
    folder = train_together(config, (0, 3), out, progress=False)
    assert [seed.config()["seed"] for seed in folder.seeds()] == [0, 3]
    assert read_picture(folder.curve).has_color("#0072B2")
    for seed in folder.seeds():
        number = seed.config()["seed"]
        alone = train(config.replace(seed=number), out.with_name(f"a{number}"), progress=False)
        assert rows(seed.evaluations)[0].keys() == rows(alone.evaluations)[0].keys()
        ours, theirs = rows(seed.metrics), rows(alone.metrics)
        for one, other in zip(ours, theirs, strict=True):
            for name in set(one) - {"seconds", "rate"}:
                assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-3, abs=1e-4)
        saved, expected = (Checkpoints(each.path / "checkpoints") for each in (seed, alone))
        assert saved.steps() == expected.steps()


def test_a_seed_of_one_program_goes_on_alone(out):
    config = TINY.replace(offline_steps=10, checkpoint_every=5, eval_every=0)
    folder = train_together(config, (0, 3), out, progress=False)
    single = folder.seeds()[1]
    Checkpoints(single.path / "checkpoints").drop_after(5)
    train(config.replace(seed=3), single.path, resume=True, progress=False)
    assert single.checkpoints.steps()[-1] == 10


def test_a_stop_saves_every_seed_of_one_program(out, monkeypatch):
    stops = iter([False] * 5 + [True] * 100)
    monkeypatch.setattr(
        StopRequest,
        "raise_if_requested",
        lambda self: (_ for _ in ()).throw(Stopped(15)) if next(stops) else None,
    )
    with pytest.raises(Stopped) as stopped:
        train_together(TINY, (0, 3), out, progress=False)
    assert stopped.value.saved
    assert [seed.checkpoints.steps() for seed in RunFolder.open(out).seeds()] == [[5], [5]]


def test_one_program_has_no_environments_to_learn_in(out):
    with pytest.raises(ConfigError, match="online_steps=5 needs an environment of each agent's"):
        train_together(TINY.replace(online_steps=5), (0, 1), out)


def test_a_compiled_run_is_one_that_is_not(out, monkeypatch):
    """Where it is long enough; with the numbers of the uncompiled one."""
    monkeypatch.setattr("flowpolicy.train.compilation.PAYS_FROM", 10)
    monkeypatch.setattr(Agent, "compile", partialmethod(Agent.compile, backend="eager"))
    said = []
    config = TINY.replace(offline_steps=10, eval_every=0)
    compiled = train(config, out, progress=False, announce=said.append)
    assert said[1:] == ["updates: compiling, which takes about a minute"]
    off = config.replace(compile="off")
    eager = train(off, out.with_name("e"), progress=False)
    for one, other in zip(rows(compiled.metrics), rows(eager.metrics), strict=True):
        for name in set(one) - {"seconds", "rate"}:
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-4, abs=1e-5)


@pytest.mark.compile
def test_seeds_as_one_program_are_compiled_once(out, monkeypatch):
    """The batch that is tried is like those that follow."""
    monkeypatch.setattr(AgentStack, "compile", partialmethod(AgentStack.compile, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    config = TINY.replace(offline_steps=3, eval_every=0, compile="on")
    train_together(config, (0, 1), out, progress=False)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_updates_alone_are_in_the_precision_that_was_asked_for(out, monkeypatch):
    asked = set()

    def watched(method):
        def call(self, *arguments):
            asked.add((method.__name__, torch.is_autocast_enabled("cpu")))
            return method(self, *arguments)

        return call

    monkeypatch.setattr(Agent, "update", watched(Agent.update))
    monkeypatch.setattr(OneStepActor, "act", watched(OneStepActor.act))
    config = TINY.replace(offline_steps=10, eval_every=0)
    folders = {
        precision: train(config.replace(precision=precision), out / precision, progress=False)
        for precision in ("bfloat16", "float32")
    }
    assert asked == {("update", True), ("update", False), ("act", True), ("act", False)}
    assert not torch.is_autocast_enabled("cpu")
    coarse, fine = (rows(folder.metrics)[-1] for folder in folders.values())
    assert coarse["loss_qvalue"] != fine["loss_qvalue"]
    assert float(coarse["loss_qvalue"]) == pytest.approx(float(fine["loss_qvalue"]), rel=0.05)
    weights = load_policy(folders["bfloat16"].path).state_dict().values()
    assert {weight.dtype for weight in weights} <= {torch.float32, torch.int64}


@pytest.mark.compile
def test_the_compiled_program_is_of_the_same_precision(out, monkeypatch):
    monkeypatch.setattr(Agent, "compile", partialmethod(Agent.compile, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    config = TINY.replace(offline_steps=3, eval_every=0, compile="on", precision="bfloat16")
    train(config, out, progress=False)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_seeds_as_one_program_are_in_the_same_precision_as_alone(out):
    config = TINY.replace(offline_steps=5, eval_every=0, precision="bfloat16")
    together = train_together(config, (0, 3), out, progress=False).seeds()[1]
    alone = train(config.replace(seed=3), out.with_name("alone"), progress=False)
    fine = config.replace(seed=3, precision="float32")
    exact = train(fine, out.with_name("exact"), progress=False)
    losses = [float(rows(each.metrics)[-1]["loss_qvalue"]) for each in (together, alone, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[2]


@pytest.mark.parametrize("said", ["none", "ieee", "tf32"])
def test_tf32_is_for_updates_alone(said):
    """Whichever of torch's two ways to say it was used before; one raises where the other was."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = said
    try:
        with products_in(TINY.replace(device="cuda", precision="tf32")):
            assert matmul.fp32_precision == "tf32"
        assert matmul.fp32_precision == said
    finally:
        matmul.fp32_precision = before
    with products_in(TINY.replace(device="cuda", precision="tf32")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_machine_that_cannot_compile_trains_and_says_why(out, monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr("flowpolicy.train.compilation.PAYS_FROM", 10)
    monkeypatch.setattr(Agent, "compile", partialmethod(Agent.compile, backend=no_compiler))
    said = []
    config = TINY.replace(offline_steps=10, eval_every=0)
    train(config, out, progress=False, announce=said.append)
    assert said[-1].startswith("updates: not compiled, this machine cannot (BackendCompilerFailed")
    assert "no C++ compiler here" in said[-1]
    with pytest.raises(TorchDynamoException, match="no C"):
        train(config.replace(compile="on"), out.with_name("on"), progress=False)


def test_a_short_run_is_not_compiled(out):
    said = []
    train(TINY.replace(offline_steps=5, eval_every=0), out, progress=False, announce=said.append)
    assert [line for line in said if line.startswith("updates")] == []


def test_configuration_survives_json():
    config = TINY.replace(options={"hidden": (8, 8), "alpha": 1.5}, max_episode_steps=None)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": "fgl"}, r"unknown agent 'fgl'; did you mean 'fql'"),
        ({"options": {"alfa": 1}}, r"unknown option of fql 'alfa'; did you mean 'alpha'"),
        ({"options": {"discount": 0.9}}, "discount is an option of the run, not of the agent"),
        ({"options": {"alpha": float("nan")}}, "alpha must be finite, got nan"),
        ({"compile": "yes"}, "unknown value of compile 'yes'"),
        ({"eval_seed": -1}, "eval_seed must be at least 0, got -1"),
        ({"precision": "bfloat"}, "unknown precision 'bfloat'; did you mean 'bfloat16'"),
        ({"precision": "tf32"}, "precision tf32 is of GPUs, and the device is cpu; take bfloat16"),
        ({"options": {"lr": -1}}, "lr must be above 0, got -1"),
        ({"options": {"lr": 0.0}}, "lr must be above 0, got 0.0"),
        ({"options": {"lr": float("inf")}}, "lr must be finite, got inf"),
        ({"options": {"lr": "fast"}}, "lr must be a number, got 'fast'"),
        ({"options": {"aggregation": len}}, "aggregation must be .* objects first, mean, min"),
        ({"options": {"alpha": len}}, "alpha must be a number, a text or a list of them, got <"),
        ({"options": [1]}, r"options must be a table of options, got \[1\]"),
        ({"device": "gpu"}, "unknown device 'gpu'; devices are called cpu, cuda, cuda:0"),
        ({"device": 3}, "device must be a text, got 3"),
        ({"offline_steps": "many"}, "offline_steps must be a whole number, got 'many'"),
        ({"keep_best": "false"}, "keep_best must be a bool, got 'false'"),
        ({"data_root": 3}, "data_root must be a path or None, got 3"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"discount": None}, "discount must be a number, got None"),
        ({"eval_actors": "policy"}, "eval_actors must be a list of names, got 'policy'"),
        ({"offline_steps": 0}, "offline_steps must be at least 1 without online_steps, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"discount": 1.5}, r"discount must lie in \(0, 1\], got 1.5"),
        ({"discount": float("nan")}, r"discount must lie in \(0, 1\], got nan"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"horizon": 2}, "horizon 2 and n_step 2 exclude each other: the target of a chunk sums"),
        ({"options": {"horizon": 2}}, "horizon is an option of the run, not of the agent"),
        (
            {"online_steps": 5, "max_episode_steps": 1},
            "n_step 2 is longer than the episodes",
        ),
        ({"eval_actors": ()}, "eval_actors must name at least one actor"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TINY.replace(**changes)


def test_unknown_and_missing_keys_are_refused():
    with pytest.raises(ConfigError, match="unknown training option 'ofline_steps'; did you mean"):
        TrainConfig.from_dict({"agent": "fql", "env": MAZE, "ofline_steps": 3})
    with pytest.raises(ConfigError, match="the configuration lacks 'env'"):
        TrainConfig.from_dict({"agent": "fql"})


def test_the_discount_reaches_recipes_that_take_one():
    assert TINY.replace(discount=0.5).recipe["discount"] == 0.5
    assert "discount" not in dataclasses.replace(TINY, agent="flow_bc").recipe


def test_the_horizon_reaches_recipes_and_is_refused_elsewhere(monkeypatch):
    assert TINY.replace(horizon=4, n_step=1).recipe["horizon"] == 4
    monkeypatch.setitem(RECIPES, "stepwise", lambda obs_dim, act_dim, *, lr=1e-3: None)
    one = TrainConfig(agent="stepwise", env=MAZE)
    assert one.recipe == {}
    with pytest.raises(ConfigError, match="horizon must be 1: stepwise has no action chunks"):
        one.replace(horizon=2)


def test_own_chunks_must_be_those_of_the_run(out):
    dataset = Dataset.from_tensordict(
        pendulum_data(), info=DatasetInfo(name="swing"), action_low=-2, action_high=2
    )
    chunks = transforms.chunk(dataset, 3, 0.99)
    config = TINY.replace(
        env="Pendulum-v1",
        n_step=1,
        offline_steps=2,
        eval_episodes=1,
        checkpoint_every=0,
        eval_actors=("policy",),
    )
    for horizon in (1, 2):
        with pytest.raises(
            ConfigError, match=f"'swing' holds chunks of 3 actions, the run has horizon {horizon}"
        ):
            train(config.replace(horizon=horizon), out, dataset=chunks, progress=False)
    said = []
    ready = train(
        config.replace(horizon=3), out, dataset=chunks, progress=False, announce=said.append
    )
    assert said == ["data: swing (in memory), 38 transitions in chunks of 3 actions"]
    made = train(config.replace(horizon=3), out.with_name("b"), dataset=dataset, progress=False)
    one, two = (folder.checkpoints.read().files for folder in (ready, made))
    assert one["model.safetensors"] == two["model.safetensors"]
    policy = load_policy(ready.path)
    observation, noise = torch.randn(4, 3), torch.randn(4, 3)
    action = policy.act(observation, noise)
    assert action.shape == (4, 3)
    torch.testing.assert_close(policy.environment_action(action), 2 * action)


def test_a_table_grows_with_its_rows(tmp_path):
    """A loss that counts in every second update is absent from the others."""
    table = CsvFile(tmp_path / "t.csv")
    table.append({"a": 1})
    table.append({"a": 2, "b": 3})
    table.append({"a": 4})
    assert rows(table.path) == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}, {"a": "4", "b": ""}]


def test_without_tensorboard_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.warns(UserWarning, match="no TensorBoard events: tensorboard is not installed"):
        board = TensorBoard(tmp_path, enabled=True)
    board.log("train", {"x": 1.0}, 1)
    board.close()
    assert not list(tmp_path.iterdir())


def test_a_run_folder_must_be_one(tmp_path):
    with pytest.raises(ConfigError, match="there is no run folder .*missing"):
        RunFolder.open(tmp_path / "missing")
    with pytest.raises(ConfigError, match=r"is not a run folder: it has no config\.json"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is not JSON"):
        RunFolder.open(tmp_path).config()
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="must hold a JSON object, got list"):
        RunFolder.open(tmp_path).config()


def test_a_signal_waits_for_the_end_of_an_update():
    import signal

    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same one, sent to a whole group
        assert stop.requested
        with pytest.raises(Stopped, match="stopped by SIGINT") as stopped, stop.interruptible():
            pytest.fail("work began after the request")
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_later_second_signal_is_not_held_back(monkeypatch):
    import signal

    monkeypatch.setattr(StopRequest, "REPEAT", -1.0)
    with StopRequest():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_is_being_saved_by_agreement_is_not_cut_off(monkeypatch):
    """By the launcher, once another process of the run has ended."""
    import signal

    monkeypatch.setattr(StopRequest, "REPEAT", -1.0)
    with StopRequest() as request:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            AgreedStop(request).agree()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_inside_an_evaluation_a_signal_acts_at_once():
    import signal

    with StopRequest() as stop, pytest.raises(Stopped) as stopped, stop.interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.exit_code == 143


def test_objects_among_the_options_become_their_names():
    config = TINY.replace(options={**TINY.options, "aggregation": min_value})
    assert config.options["aggregation"] == "min"
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.timeout(300)
def test_an_error_of_the_caller_lets_runs_save(tmp_path):
    short = TINY.replace(offline_steps=1, eval_every=0, eval_episodes=1, checkpoint_every=0)
    runs = {tmp_path / "a": short, tmp_path / "b": short.replace(offline_steps=1_000_000)}

    def ended(path, _):
        deadline = time.monotonic() + 100
        while not (tmp_path / "b" / "metrics.csv").is_file():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        train_all(runs, jobs=2, progress=False, ended=ended)
    assert RunFolder(tmp_path / "b").checkpoints.steps()
