"""The policy of a run folder acts as the one that was trained."""

from __future__ import annotations

import csv
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

import flowpolicy as fp
from flowpolicy import data
from flowpolicy.checkpoint import Checkpoints, DeployedPolicy, load_policy
from flowpolicy.checkpoint.policy import deployed_actor, load_agent
from flowpolicy.errors import CheckpointError, ConfigError
from flowpolicy.evaluate import evaluate
from flowpolicy.modules import Actor
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import train
from flowpolicy.train.task import load_dataset, seeded_agent
from tests.run.conftest import MAZE, TINY, tiny_agent


def inputs(actor, rows=5):
    g = torch.Generator().manual_seed(2)
    observation = torch.randn(rows, actor.obs_dim, generator=g)
    return observation, torch.randn(rows, *actor.noise_shape, generator=g)


@pytest.mark.parametrize("actor", ["policy", "flow"])
def test_a_loaded_actor_acts_as_the_trained_one(tmp_path, actor):
    agent = tiny_agent(3)
    recipe = {"agent": "fql", "obs_dim": 3, "act_dim": 2}
    options = {"hidden": [16, 16], "flow_steps": 2, "alpha": 0.1}
    Checkpoints(tmp_path / "checkpoints").save(
        agent, config={"recipe": {**recipe, "options": options}}
    )
    policy = load_policy(tmp_path, actor=actor)
    trained = deployed_actor(agent, actor, {})
    assert torch.equal(policy.act(*inputs(policy)), trained.act(*inputs(trained)))
    assert not policy.training
    assert not any(p.requires_grad for p in policy.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [("cgql_mse", {"flow_steps": 3}), ("qsm", {"diffusion_steps": 3, "sampler": "jump"})],
)
def test_policies_of_several_networks_load_with_all_of_them(tmp_path, name, options):
    """A guided flow needs its critics and the flow's target; a diffusion its noise predictor."""
    options = {"hidden": [16, 16], **options}
    agent = fp.agents.build(name, 3, 2, **options)
    recipe = {"agent": name, "obs_dim": 3, "act_dim": 2, "options": options}
    Checkpoints(tmp_path / "checkpoints").save(agent, config={"recipe": recipe})
    policy = load_policy(tmp_path)
    with torch.inference_mode():
        loaded = policy.act(*inputs(policy))
    assert torch.equal(loaded, agent.policy.act(*inputs(agent.policy)))


@pytest.mark.parametrize("name", ["fql", "qam", "cgql", "dac"])
def test_agents_load_where_gradient_is_ruled_out(tmp_path, name):
    """Their losses ask at construction whether critics are differentiable, which nothing is."""
    options = {"hidden": [16, 16]}
    agent = fp.agents.build(name, 3, 2, **options)
    recipe = {"agent": name, "obs_dim": 3, "act_dim": 2, "options": options}
    Checkpoints(tmp_path / "checkpoints").save(agent, config={"recipe": recipe})
    with torch.inference_mode():
        policy, loaded = load_policy(tmp_path), load_agent(tmp_path)
        action = policy.act(*inputs(policy))
        assert torch.equal(loaded.policy.act(*inputs(policy)), action)
    assert torch.equal(agent.policy.act(*inputs(agent.policy)), action)


def test_all_ways_to_name_a_checkpoint(finished_run):
    folder = finished_run.path
    newest = load_policy(folder)
    for path in (folder / "checkpoints", folder / "checkpoints" / "last", str(folder)):
        assert torch.equal(load_policy(path).act(*inputs(newest)), newest.act(*inputs(newest)))
    with pytest.raises(CheckpointError, match="is one checkpoint already: leave step 10 out"):
        load_policy(folder / "checkpoints" / "last", step=10)
    older = load_policy(folder, step=10)
    assert not torch.equal(older.act(*inputs(newest)), newest.act(*inputs(newest)))


@pytest.mark.timeout(300)
def test_loading_needs_no_simulator_plotting_or_command_line(finished_run):
    code = f"""
import sys
simulators = ("ogbench", "mujoco", "gymnasium", "dm_control")
for name in (*simulators, "matplotlib", "imageio", "tyro", "tqdm", "tensorboard"):
    sys.modules[name] = None
import torch
from flowpolicy.checkpoint import load_policy
policy = load_policy({str(finished_run.path)!r})
print(tuple(policy.act(torch.zeros(3, 2), torch.zeros(3, 2)).shape))
"""
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout == "(3, 2)\n"


def test_normalisation_is_part_of_the_policy(out):
    config = TINY.replace(normalize_observations=True, eval_every=0, checkpoint_every=0)
    folder = train(config, out, progress=False)
    policy = load_policy(folder.path)
    assert isinstance(policy, DeployedPolicy)
    dataset = data.load(MAZE)
    assert torch.equal(policy.observation_mean, dataset.observation_mean)
    raw, noise = dataset.entries()["observation"][:4], torch.zeros(4, 2)
    seen = (raw - dataset.observation_mean) / dataset.observation_std
    assert torch.allclose(policy.act(raw, noise), policy.actor.act(seen, noise))
    assert not torch.allclose(policy.act(raw, noise), policy.actor.act(raw, noise))
    rows = folder.read_evaluations()
    assert evaluate(policy, MAZE, episodes=3, max_steps=15).mean_return == float(rows[0]["return"])


def test_the_agent_learns_from_normalised_observations():
    dataset, preprocessing = load_dataset(TINY.replace(normalize_observations=True, n_step=1))
    for key in ("observation", ("next", "observation")):
        values = dataset.entries()[key]
        assert values.mean(0) == pytest.approx(torch.zeros(2), abs=0.05)
        assert values.std(0) == pytest.approx(torch.ones(2), abs=0.05)
    plain, _ = load_dataset(TINY.replace(n_step=1))
    mean, std = preprocessing["observation_mean"], preprocessing["observation_std"]
    back = dataset.entries()["observation"] * std + mean
    assert torch.allclose(back, plain.entries()["observation"], atol=1e-4)


def test_actions_in_the_units_of_the_environment():
    low, high = torch.tensor([0.0, -3.0]), torch.tensor([4.0, -1.0])
    policy = DeployedPolicy(fp.OneStepActor(3, 2, hidden=(8,)), action_low=low, action_high=high)
    actions = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    expected = torch.stack([low, high, torch.tensor([2.0, -2.0])])
    assert torch.equal(policy.environment_action(actions), expected)
    assert policy.act(*inputs(policy)).abs().max() <= 1


def test_a_chunk_in_the_units_of_the_environment():
    low, high = torch.tensor([0.0, -3.0]), torch.tensor([4.0, -1.0])
    actor = fp.OneStepActor(3, 6, hidden=(8,))
    policy = DeployedPolicy(actor, action_low=low, action_high=high, horizon=3)
    chunk = torch.tensor([[-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]])
    assert policy.environment_action(chunk).tolist() == [[0.0, -3.0, 4.0, -1.0, 2.0, -2.0]]
    assert torch.equal(policy.environment_action(-torch.ones(2)), low)  # one action of a chunk
    with pytest.raises(ConfigError, match=r"dimension 6 of OneStepActor is not a multiple of hor"):
        DeployedPolicy(actor, horizon=4)


@pytest.mark.parametrize("normalized", [False, True])
def test_the_length_of_a_chunk_is_saved_with_the_policy(out, normalized):
    config = TINY.replace(
        n_step=1,
        horizon=3,
        normalize_observations=normalized,
        eval_every=0,
        checkpoint_every=0,
        offline_steps=4,
    )
    folder = train(config, out, progress=False)
    policy = load_policy(folder.path)
    assert isinstance(policy, DeployedPolicy)
    assert (policy.horizon, policy.act_dim, policy.noise_shape) == (3, 6, (6,))
    assert policy.mode is policy  # one-step policies are scored by sampling
    recipe = folder.checkpoints.read().config["recipe"]
    assert (recipe["act_dim"], recipe["options"]["horizon"]) == (2, 3)
    assert folder.read_json("data.json")["horizon"] == 3
    result = evaluate(policy, MAZE, episodes=3, max_steps=15)
    assert result.mean_return == float(folder.read_evaluations()[0]["return"])
    row = next(csv.DictReader(folder.metrics.read_text().splitlines()))
    assert math.isfinite(float(row["loss_qvalue"]))


class Mean(Actor):
    """Gaussian around zero, or zero."""

    def __init__(self, spread: float) -> None:
        super().__init__(2, 2)
        self.spread = spread

    @property
    def mode(self) -> Actor:
        return Mean(0.0) if self.spread else self

    def raw(self, observation, noise):
        return observation + self.spread * noise


def test_the_mode_keeps_what_is_around_the_actor():
    high, mean = torch.tensor([3.0]), torch.ones(2)
    policy = DeployedPolicy(
        Mean(0.1), observation_mean=mean, action_low=-high, action_high=high, horizon=2
    )
    mode, z = policy.mode, torch.ones(2)
    assert torch.equal(mode.act(mean, z), torch.zeros(2))
    assert not torch.equal(policy.act(mean, z), torch.zeros(2))
    assert (mode.horizon, mode.action_high) == (2, high)
    assert mode.mode is mode
    policy.set_keys(observation="obs", action="act")
    assert "act" in policy.mode(TensorDict(obs=torch.zeros(4, 2), batch_size=[4]))


def test_what_is_around_the_actor_is_of_its_kind_and_reads_its_entries():
    actor = fp.OneStepActor(2, 1, hidden=(8,)).set_keys(observation="obs", action="act")
    mean = torch.ones(2, dtype=torch.float64)  # as NumPy gives it
    policy = DeployedPolicy(actor, observation_mean=mean)
    assert policy(TensorDict(obs=torch.zeros(4, 2), batch_size=[4]))["act"].dtype is torch.float32
    double = DeployedPolicy(fp.OneStepActor(2, 1, hidden=(8,)).double(), observation_mean=mean)
    assert {buffer.dtype for buffer in double.buffers()} == {torch.float64}


def test_a_seed_gives_the_same_agent_and_leaves_the_global_generator():
    recipe = {"agent": "fql", "obs_dim": 3, "act_dim": 2, "options": {"hidden": [8]}}
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two = seeded_agent(TINY, recipe), seeded_agent(TINY, recipe)
    assert torch.equal(torch.rand(1), expected)
    a, b = one.state_dict(), two.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    other = seeded_agent(TINY.replace(seed=1), recipe).state_dict()
    assert not all(torch.equal(a[k], other[k]) for k in a)


def test_a_folder_of_runs_says_which(finished_run, tmp_path):
    for seed in range(4):
        place = tmp_path / "demo" / "fql" / f"seed_{seed}"
        shutil.copytree(finished_run.path, place, symlinks=True)
    below = tmp_path / "demo" / "fql"
    hint = f"; runs below it: {below / 'seed_0'}, {below / 'seed_1'}, {below / 'seed_2'} and 1 more"
    with pytest.raises(CheckpointError) as caught:
        load_policy(tmp_path / "demo")
    assert str(caught.value) == f"{tmp_path / 'demo'} holds no checkpoint{hint}"
    with pytest.raises(ConfigError) as refused:
        RunFolder.open(tmp_path / "demo")
    assert str(refused.value) == (
        f"{tmp_path / 'demo'} is not a run folder: it has no config.json{hint}"
    )


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "unknown device 'gpu'; devices are called cpu, cuda, cuda:0"),
        ("cuda:99", "device 'cuda:99' was asked for, but PyTorch finds .* CUDA devices? here"),
    ],
)
def test_a_device_that_is_not_there_is_refused(finished_run, device, message):
    with pytest.raises(ConfigError, match=message):
        load_policy(finished_run.path, device=device)


def test_refusals(finished_run, tmp_path):
    with pytest.raises(CheckpointError, match="there is no run folder .*nowhere"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_policy(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint of step 3 in .*; there are: 10, 20"):
        load_policy(finished_run.path, step=3)
    with pytest.raises(ConfigError, match="unknown actor 'polcy'; did you mean 'policy'"):
        load_policy(finished_run.path, actor="polcy")
    Checkpoints(tmp_path / "made" / "checkpoints").save(tiny_agent())
    with pytest.raises(CheckpointError, match="does not say how its agent is built"):
        load_policy(tmp_path / "made")
    RunFolder.create(tmp_path / "many", {})
    RunFolder.create(tmp_path / "many" / "seed_0", {})
    with pytest.raises(CheckpointError, match=r"holds several runs \(seed_0\); choose one"):
        load_policy(tmp_path / "many")


def test_a_damaged_newest_checkpoint_gives_way(finished_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished_run.path, copy, symlinks=True)
    model = copy / "checkpoints" / "step_00000020" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="trying the one before it"):
        policy = load_policy(copy)
    older = load_policy(finished_run.path, step=10)
    assert torch.equal(policy.act(*inputs(policy)), older.act(*inputs(policy)))
