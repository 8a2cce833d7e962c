"""Agents go on exactly where their checkpoint was written."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import flowpolicy as fp
from flowpolicy.agents import Agent
from flowpolicy.checkpoint import Checkpoints, DamagedCheckpointError, agent_to_files, random_state
from flowpolicy.checkpoint.agent_files import agent_from_files
from flowpolicy.checkpoint.optimizer_state import optimizer_to_state, state_to_optimizer
from flowpolicy.checkpoint.tensors import bytes_to_tensors, tensors_to_bytes
from flowpolicy.errors import CheckpointError
from tests.run.conftest import learn, tiny_agent

RECIPES = sorted(fp.agents.RECIPES)


def same(one: Agent, other: Agent) -> bool:
    a, b = one.state_dict(), other.state_dict()
    moments_a, _ = optimizer_to_state(one.optimizer)
    moments_b, _ = optimizer_to_state(other.optimizer)
    return all(
        set(x) == set(y) and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in ((a, b), (moments_a, moments_b))
    )


@pytest.mark.parametrize("name", RECIPES)
def test_resume_is_exact_to_the_bit(name, tmp_path):
    agent, batches = tiny_agent(0, name), torch.Generator().manual_seed(5)
    learn(agent, batches, 4)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(agent, generators={"batches": batches})

    resumed, other_batches = tiny_agent(1, name), torch.Generator().manual_seed(6)
    learn(resumed, other_batches, 2)
    assert not same(agent, resumed)
    checkpoints.load(resumed, generators={"batches": other_batches})
    assert same(agent, resumed)
    assert resumed.step == 4

    learn(agent, batches, 3)
    learn(resumed, other_batches, 3)
    assert same(agent, resumed)


@pytest.mark.parametrize("dropped", ["model", "optimizer", "noise", "batches"])
def test_every_part_matters(dropped, tmp_path):
    agent, batches = tiny_agent(0), torch.Generator().manual_seed(5)
    learn(agent, batches, 4)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(agent, generators={"batches": batches})
    resumed, other_batches = tiny_agent(1), torch.Generator().manual_seed(6)
    learn(resumed, other_batches, 2)
    before_model = {k: v.clone() for k, v in resumed.state_dict().items()}
    before_optimizer = resumed.optimizer.state_dict()
    before_noise = resumed.noise.state_dict()
    before_batches = other_batches.get_state()
    checkpoints.load(resumed, generators={"batches": other_batches})
    if dropped == "model":
        resumed.load_state_dict(before_model)
    elif dropped == "optimizer":
        resumed.optimizer.load_state_dict(before_optimizer)
    elif dropped == "noise":
        resumed.noise.load_state_dict(before_noise)
    else:
        other_batches.set_state(before_batches)
    learn(agent, batches, 2)
    learn(resumed, other_batches, 2)
    assert not same(agent, resumed)


def test_global_generators_continue(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    random.gauss(0, 1)
    checkpoints.save(tiny_agent())
    torch.manual_seed(1)

    def draw():
        return random.gauss(0, 1), np.random.normal(), torch.rand(1).item()  # noqa: NPY002

    agent = tiny_agent()
    checkpoints.load(agent)
    first = draw()
    assert draw() != first
    checkpoints.load(agent)
    assert draw() == first


def test_another_architecture_is_refused_and_nothing_changes(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(tiny_agent(0))
    wider = tiny_agent(1, hidden=(16, 24))
    before = {k: v.clone() for k, v in wider.state_dict().items()}
    with pytest.raises(
        CheckpointError,
        match=r"another architecture: '[\w.]+' is float32\[[\d, ]*16[\d, ]*\] in the checkpoint "
        r"and float32\[[\d, ]*24[\d, ]*\] in the agent",
    ):
        checkpoints.load(wider)
    assert all(torch.equal(v, before[k]) for k, v in wider.state_dict().items())


def test_another_recipe_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(tiny_agent(0, "flow_bc"))
    with pytest.raises(CheckpointError, match="the agent has 'networks.*the checkpoint does not"):
        checkpoints.load(tiny_agent(0, "fql"))
    checkpoints = Checkpoints(tmp_path / "fql")
    checkpoints.save(tiny_agent(0, "fql"))
    with pytest.raises(CheckpointError, match="it has '.*the agent does not"):
        checkpoints.load(tiny_agent(0, "flow_bc"))


def changed(content: bytes, **changes: torch.Tensor) -> bytes:
    tensors = bytes_to_tensors(content, "test")
    named = {name.replace("__", "/").replace("_", "."): v for name, v in changes.items()}
    assert set(named) <= set(tensors)
    return tensors_to_bytes({**tensors, **named})


SHORT = torch.zeros(5, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("rng.safetensors", {"torch": SHORT}, "the random state 'torch' does not fit its gen"),
        ("rng.safetensors", {"torch": SHORT.float()}, r"'torch' .* \(a state is a row of bytes"),
        ("rng.safetensors", {"generator_batches": SHORT}, "'generator.batches' does not fit"),
        ("rng.safetensors", {"python_words": SHORT.long()}, "'python.words' does not fit"),
        ("rng.safetensors", {"numpy_keys": SHORT.long()}, "'numpy.keys' does not fit"),
        ("rng.safetensors", {"noise__generators__cpu": SHORT}, "the state of the noise is unus"),
        ("state.json", b'{"noise": {}, "step": null}', r"state\.json lacks the step or the state"),
        ("state.json", b"[]", r"state\.json lacks the step or the state"),
        ("state.json", b'{"noise": {}, "step": 3, "skipped": "no"}', "lacks the step"),
        ("state.json", b'{"noise": {}, "step": 3}', "the state of the noise is unusable"),
    ],
)
def test_nothing_changes_where_a_later_part_does_not_fit(file, changes, message):
    agent, batches = tiny_agent(0), torch.Generator().manual_seed(5)
    learn(agent, batches, 2)
    files = agent_to_files(agent, generators={"batches": batches})
    files[file] = changes if isinstance(changes, bytes) else changed(files[file], **changes)
    other, untouched = tiny_agent(1), tiny_agent(1)
    for each in (other, untouched):
        learn(each, torch.Generator().manual_seed(6), 1)
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state(), torch.get_rng_state(), random.getstate()
    with pytest.raises(CheckpointError, match=message):
        agent_from_files(files, other, origin="checkpoint x", generators={"batches": generator})
    assert same(other, untouched)
    assert other.step == untouched.step == 1
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]
    for each in (other, untouched):
        learn(each, torch.Generator().manual_seed(6), 1)
    assert same(other, untouched)  # the noise is what it was, too


def test_states_of_absent_devices_are_kept_for_the_next_checkpoint():
    agent = tiny_agent(0)
    learn(agent, torch.Generator().manual_seed(0), 1)
    files = agent_to_files(agent)
    state = torch.arange(16, dtype=torch.uint8)
    extra = {"cuda.7": state, "noise/generators/cuda:7": state}
    tensors = bytes_to_tensors(files["rng.safetensors"], "test")
    files["rng.safetensors"] = tensors_to_bytes({**tensors, **extra})
    values = json.loads(files["state.json"])
    values["noise"]["generators"]["cuda:7"] = {"$tensor": "noise/generators/cuda:7"}
    files["state.json"] = json.dumps(values).encode()
    other = tiny_agent(1)
    try:
        agent_from_files(files, other, origin="checkpoint x")
        again = bytes_to_tensors(agent_to_files(other)["rng.safetensors"], "test")
    finally:
        random_state._set_aside.clear()
    assert same(agent, other)
    assert all(torch.equal(again[name], value) for name, value in extra.items())


def test_another_type_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(tiny_agent())
    with pytest.raises(CheckpointError, match=r"is float32\[.*\] in the checkpoint and float64\["):
        checkpoints.load(tiny_agent().double())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_written(tmp_path, value):
    agent = tiny_agent()
    name, parameter = next(iter(agent.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[3] = value
    with pytest.raises(CheckpointError, match=f"1 of {parameter.numel()} values of '{name}' are"):
        Checkpoints(tmp_path).save(agent)
    assert list(tmp_path.iterdir()) == []


def test_moments_that_are_not_finite_are_never_written(tmp_path):
    agent = tiny_agent()
    learn(agent, torch.Generator().manual_seed(0), 1)
    next(iter(agent.optimizer.state.values()))["exp_avg"].fill_(float("nan"))
    with pytest.raises(CheckpointError, match="values of 'exp_avg/networks"):
        Checkpoints(tmp_path).save(agent)


def test_unnamed_parameters_are_refused(tmp_path):
    agent = tiny_agent()
    agent.optimizer = torch.optim.Adam(agent.parameters())
    with pytest.raises(CheckpointError, match="unnamed parameters; make it from"):
        Checkpoints(tmp_path).save(agent)


def test_moments_follow_names_not_positions():
    agent = tiny_agent()
    learn(agent, torch.Generator().manual_seed(0), 1)
    files = agent_to_files(agent)
    other = tiny_agent()
    other.optimizer = torch.optim.Adam(reversed(list(other.trained_parameters())), fused=True)
    with pytest.raises(CheckpointError, match="saved with parameter '.*' where the agent has '"):
        agent_from_files(files, other, origin="checkpoint x")


def test_an_optimizer_with_fewer_parameters_is_refused():
    agent = tiny_agent()
    files = agent_to_files(agent)
    other = tiny_agent()
    other.optimizer = torch.optim.Adam(list(other.trained_parameters())[:-1])
    with pytest.raises(CheckpointError, match=r"saved with \d+ parameters, the agent has \d+"):
        agent_from_files(files, other, origin="checkpoint x")


def test_hyperparameters_come_back_as_they_were(tmp_path):
    agent = tiny_agent(lr=0.5)
    agent.optimizer.param_groups[0]["betas"] = (0.5, 0.75)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(agent)
    other = tiny_agent(lr=0.1)
    checkpoints.load(other)
    group = other.optimizer.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.5, (0.5, 0.75))


def test_entries_that_are_no_tensors_are_refused(tmp_path, monkeypatch):
    agent = tiny_agent()
    monkeypatch.setattr(nn.Linear, "get_extra_state", lambda _: {"a": 1}, raising=False)
    monkeypatch.setattr(nn.Linear, "set_extra_state", lambda *_: None, raising=False)
    with pytest.raises(CheckpointError, match="is a dict; a checkpoint holds tensors"):
        Checkpoints(tmp_path).save(agent)


def save_steps(root: Path, steps: list[int], keep: int | None = None) -> Checkpoints:
    checkpoints = Checkpoints(root, keep=keep)
    for step in steps:
        agent = tiny_agent(step)
        agent.step = step
        checkpoints.save(agent, config={"number": step})
    return checkpoints


def test_only_the_newest_stay_and_last_points_at_one(tmp_path):
    checkpoints = save_steps(tmp_path, [1, 2, 3, 4], keep=2)
    assert checkpoints.steps() == [3, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "last",
        "step_00000003",
        "step_00000004",
    ]
    assert (tmp_path / "last").readlink() == Path("step_00000004")


@pytest.mark.parametrize("keep", [1, 2])
def test_one_beside_those_in_turn_pushes_none_of_them_out(tmp_path, keep):
    checkpoints = save_steps(tmp_path, [10, 20], keep=keep)
    for step in (23, 26, 29):
        agent = tiny_agent(step)
        agent.step = step
        checkpoints.save(agent, beside=True)
        checkpoints.mark_best(step)
    assert checkpoints.steps() == [10, 20, 29][2 - keep :]
    agent.step = 30
    checkpoints.save(agent)
    assert checkpoints.steps() == [20, 29, 30][2 - keep :]


def test_the_best_stays_until_there_is_a_better_one(tmp_path):
    checkpoints = save_steps(tmp_path, [1, 2, 3], keep=2)
    assert checkpoints.best is None
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is marked as the best"):
        checkpoints.read("best")
    checkpoints.mark_best(2)
    save_steps(tmp_path, [4, 5, 6], keep=2)
    assert (checkpoints.steps(), checkpoints.best) == ([2, 5, 6], 2)
    assert checkpoints.read("best").config == {"number": 2}
    assert checkpoints.read().config == {"number": 6}
    assert (tmp_path / "best").readlink() == Path("step_00000002")
    checkpoints.mark_best(6)
    assert (checkpoints.steps(), checkpoints.best) == ([5, 6], 6)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 2 in .*; there are: 5, 6"):
        checkpoints.mark_best(2)
    checkpoints.mark_best(None)
    assert checkpoints.best is None
    assert checkpoints.steps() == [5, 6]


def test_links_follow_where_a_run_goes_back(tmp_path):
    checkpoints = save_steps(tmp_path, [1, 2, 3])
    checkpoints.mark_best(3)
    checkpoints.drop_after(2)
    assert (tmp_path / "last").readlink() == Path("step_00000002")
    assert checkpoints.best is None


def test_copies_in_place_of_the_links_are_known_and_replaced(tmp_path):
    """As tools leave them that follow links, such as scp -r."""
    save_steps(tmp_path / "a", [1, 2]).mark_best(1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copied = Checkpoints(tmp_path / "b")
    assert not (copied.root / "best").is_symlink()
    assert copied.best == 1
    assert copied.read("best").config == {"number": 1}
    (copied.path(1) / "manifest.json").unlink()
    assert copied.best is None  # none that is whole
    (copied.root / "best" / "manifest.json").unlink()
    assert copied.best is None
    agent = tiny_agent(3)
    agent.step = 3
    copied.save(agent)
    copied.mark_best(3)
    assert (copied.root / "last").readlink() == (copied.root / "best").readlink()
    shutil.rmtree(copied.root)
    shutil.copytree(tmp_path / "a", copied.root)
    copied.mark_best(None)
    assert copied.best is None and not (copied.root / "best").exists()


def test_other_folders_are_no_checkpoints(tmp_path):
    checkpoints = save_steps(tmp_path, [1])
    (tmp_path / "20260801").mkdir()
    assert checkpoints.steps() == [1]


def test_a_damaged_one_gives_way_to_the_one_before_and_says_so(tmp_path):
    checkpoints = save_steps(tmp_path, [1, 2])
    model = checkpoints.path(2) / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    agent = tiny_agent(9)
    with pytest.warns(UserWarning, match=r"model\.safetensors changed.*trying the one before it"):
        loaded = checkpoints.load(agent)
    assert (loaded.path.name, loaded.config) == ("step_00000001", {"number": 1})
    with pytest.raises(DamagedCheckpointError, match=r"content of model\.safetensors changed"):
        checkpoints.load(agent, step=2)


def test_none_intact(tmp_path):
    checkpoints = save_steps(tmp_path, [1])
    (checkpoints.path(1) / "state.json").unlink()
    with (
        pytest.warns(UserWarning, match="trying the one before"),
        pytest.raises(DamagedCheckpointError, match="none of the 1 checkpoints in .* is intact"),
    ):
        checkpoints.read()


def test_none_at_all(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Checkpoints(tmp_path / "nothing").read()
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 in .*; there are: 1, 2"):
        save_steps(tmp_path, [1, 2]).read(7)


def test_keep_must_keep_something(tmp_path):
    with pytest.raises(CheckpointError, match="keep must be at least 1 checkpoint, got 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_directory_without_an_agent_is_refused(tmp_path):
    from flowpolicy.checkpoint import write_directory

    write_directory(tmp_path / "step_00000001", {"config.json": b"{}"})
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors; it is not a checkpoint"):
        Checkpoints(tmp_path).load(tiny_agent())


def test_no_file_is_pickled(tmp_path):
    agent = tiny_agent()
    learn(agent, torch.Generator().manual_seed(0), 1)
    path = Checkpoints(tmp_path).save(agent)
    for file in path.iterdir():
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            assert file.suffix == ".safetensors"
            header = int.from_bytes(file.read_bytes()[:8], "little")
            json.loads(file.read_bytes()[8 : 8 + header])


SAVE_FOR_EVER = """
import sys, torch
from tests.run.conftest import tiny_agent
from flowpolicy.checkpoint import Checkpoints
torch.set_num_threads(1)
agent, checkpoints = tiny_agent(0, hidden=(256, 256)), Checkpoints(sys.argv[1], keep=2)
print("ready", flush=True)
while True:
    agent.step += 1
    with torch.no_grad():
        for tensor in agent.state_dict().values():
            tensor.fill_(agent.step)
    checkpoints.save(agent)
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("delay", [0.21, 0.43])
def test_a_kill_while_saving_leaves_a_checkpoint(tmp_path, delay):
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        checkpoints = Checkpoints(tmp_path)
        for _ in range(2400):
            if len(checkpoints.steps()) >= 2:
                break
            time.sleep(0.05)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    agent = tiny_agent(0, hidden=(256, 256))
    loaded = checkpoints.load(agent)
    assert agent.step == checkpoints.steps()[-1] >= 2
    assert all(bool((v == agent.step).all()) for v in agent.state_dict().values())
    assert loaded.path.name == f"step_{agent.step:08d}"


@pytest.mark.parametrize(
    "kind",
    [
        "ASGD",
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    ],
)
def test_a_hand_made_agent_goes_on_with_any_optimizer(kind, tmp_path):
    make = getattr(torch.optim, kind)
    optimizer = partial(make, lr=0.01, **({"momentum": 0.9} if kind == "SGD" else {}))

    def made() -> Agent:
        field = fp.VelocityField(3, 2, hidden=(8,))
        return fp.Agent(fp.EulerSampler(field, 2), [fp.FlowMatchingLoss(field)], optimizer)

    agent, other, batches = made(), made(), torch.Generator().manual_seed(0)
    learn(agent, batches, 2)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(agent)
    checkpoints.load(other)
    assert same(agent, other)
    state = batches.get_state()
    learn(agent, batches, 2)
    learn(other, batches.set_state(state), 2)
    assert same(agent, other)


def test_moments_of_another_shape_are_refused():
    agent = tiny_agent()
    learn(agent, torch.Generator().manual_seed(0), 1)
    tensors, groups = optimizer_to_state(agent.optimizer)
    name = next(name for name in tensors if name.startswith("exp_avg/"))
    tensors[name] = torch.zeros(1, 1, 1, 1)
    with pytest.raises(CheckpointError, match=r"exp_avg of '.*' has shape \[1, 1, 1, 1\] in the"):
        state_to_optimizer(agent.optimizer, tensors, groups, "here")


def test_skipped_updates_are_counted_on(tmp_path):
    agent, batches = tiny_agent(0), torch.Generator().manual_seed(5)
    agent.guard.load(7, 2)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(agent)
    resumed = tiny_agent(1)
    checkpoints.load(resumed)
    assert (resumed.guard.skipped, resumed.guard.in_a_row) == (7, 2)
    learn(resumed, batches, 1)
    assert (resumed.guard.skipped, resumed.guard.in_a_row) == (7, 0)


def test_a_checkpoint_of_a_gpu_goes_on_on_the_cpu():
    """Where Adam refuses to keep its counters as it does there."""
    agent, batches = tiny_agent(0), torch.Generator().manual_seed(5)
    learn(agent, batches, 1)
    for group in agent.optimizer.param_groups:
        group["capturable"] = True
    resumed = tiny_agent(1)
    agent_from_files(agent_to_files(agent), resumed, origin="test")
    learn(resumed, batches, 1)
    assert resumed.step == 2


def test_a_learning_rate_in_a_tensor_comes_back_where_it_was():
    agent = tiny_agent(0)
    agent.optimizer.param_groups[0]["lr"] = torch.tensor(1e-2)
    tensors, groups = optimizer_to_state(agent.optimizer)
    agent.optimizer.param_groups[0]["lr"] = torch.tensor(0.0, device="meta")
    state = state_to_optimizer(agent.optimizer, tensors, groups, "here")
    assert state["param_groups"][0]["lr"].device.type == "meta"
