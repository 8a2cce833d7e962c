"""An exported policy acts as the policy does, where there is nothing but PyTorch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_map

import flowpolicy as fp
from flowpolicy.checkpoint import DeployedPolicy, export_policy, load_policy
from flowpolicy.cli import main
from flowpolicy.errors import CheckpointError, ConfigError
from flowpolicy.modules import Actor
from tests.agents.recipes import VARIANTS, small, small_options


def inputs(actor, rows):
    observation = torch.randn(rows, actor.obs_dim, dtype=torch.get_default_dtype())
    return observation, actor.draw_noise(observation)


def played(path, *inputs):
    with torch.inference_mode():
        return torch.export.load(path).module()(*inputs)


EXAMPLE = Path(__file__).parents[2] / "examples" / "compile_policy.py"

KINDS = ["bc", "cgql_mse", "dac", "dsrl", "fedit", "flow_bc", "fql", "qc", "qsm+jump", "sac"]
"""Recipes whose policies are of different kinds; the others are of one of these."""
OTHERS = [pytest.param(each, marks=pytest.mark.slow) for each in sorted({*VARIANTS} - {*KINDS})]


@pytest.mark.parametrize("variant", [*KINDS, *OTHERS])
def test_every_recipe(variant, tmp_path):
    """Also guided flows, which differentiate while they act, for any number of rows."""
    torch.manual_seed(1)
    options = {} if "flow_steps" not in small_options(variant) else {"flow_steps": 2}
    policy = small(variant, **options).policy
    about = export_policy(policy, tmp_path / "policy.pt2")
    assert about["noise_shape"] == list(policy.noise_shape)
    policy.requires_grad_(requires_grad=False)
    program = torch.export.load(tmp_path / "policy.pt2").module()
    for rows in (1, 7):
        given = inputs(policy, rows)
        torch.testing.assert_close(program(*given), policy.act(*given))


class Alike(Actor):
    """Two tensors whose names differ in a dot."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.net = torch.nn.ModuleList([torch.nn.Linear(2, 1)])
        self.net_0 = torch.nn.Linear(2, 1)

    def raw(self, observation, noise):
        return self.net[0](observation) - self.net_0(observation) + 0 * noise


def test_names_that_differ_in_a_dot(tmp_path):
    actor = Alike().requires_grad_(requires_grad=False)
    export_policy(actor, tmp_path / "policy.pt2")
    given = inputs(actor, 3)
    torch.testing.assert_close(played(tmp_path / "policy.pt2", *given), actor.act(*given))


@pytest.mark.parametrize("variant", ["iql", "sac", "td3_bc"])
def test_the_mode_needs_no_noise(variant, tmp_path):
    mode = small(variant).policy.mode
    about = export_policy(mode, tmp_path / "mode.pt2")
    assert about["noise_shape"] == [0]
    observation, noise = inputs(mode, 3)
    assert noise.shape == (3, 0)
    torch.testing.assert_close(
        played(tmp_path / "mode.pt2", observation, noise), mode.act(observation, noise)
    )


def deployed() -> DeployedPolicy:
    torch.manual_seed(2)
    flow = fp.EulerSampler(fp.VelocityField(3, 4, hidden=(8,)), 3)
    return DeployedPolicy(
        flow,
        observation_mean=torch.tensor([1.0, -2.0, 3.0]),
        observation_std=torch.tensor([0.5, 2.0, 1.0]),
        action_low=torch.tensor([0.0, -3.0]),
        action_high=torch.tensor([4.0, -1.0]),
        horizon=2,
    )


ALONE = """
import json, sys

class NothingElse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "flowpolicy", "tensordict", "torchrl", "safetensors", "einops", "gymnasium", "mujoco",
            "ogbench", "matplotlib", "tyro",
        }:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, NothingElse())
import torch
about = {"policy.json": ""}
policy = torch.export.load(sys.argv[1], extra_files=about).module()
observation, noise = (torch.tensor(each) for each in json.loads(sys.argv[2]))
assert list(noise.shape[1:]) == json.loads(about["policy.json"])["noise_shape"]
print(json.dumps(policy(observation, noise).tolist()))
"""


def test_it_needs_nothing_but_pytorch(tmp_path):
    """Normalisation, bounds and the chunk are in the file."""
    policy, path = deployed(), tmp_path / "policy.pt2"
    about = export_policy(policy, path, {"env": "arm-v0"})
    assert (about["obs_dim"], about["act_dim"], about["horizon"]) == (3, 2, 2)
    assert (about["dtype"], about["env"], about["torch"]) == (
        "float32", "arm-v0", torch.__version__,
    )  # fmt: skip
    given = inputs(policy, 2)
    given_as_text = json.dumps(tree_map(torch.Tensor.tolist, given))
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, str(path), given_as_text],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    with torch.inference_mode():
        expected = policy.environment_action(policy.act(*given))
    torch.testing.assert_close(torch.tensor(json.loads(ran.stdout)), expected)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_is_compiled_by_the_example(tmp_path):
    export_policy(deployed(), tmp_path / "policy.pt2")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE), "policy.pt2", "compiled.pt2", "--rows", "2"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == ["exported", "compiled"]
    assert (tmp_path / "compiled.pt2").is_file()


def test_nothing_of_it_is_pickled_but_the_shapes_to_trace_with(tmp_path):
    export_policy(deployed(), tmp_path / "policy.pt2")
    with zipfile.ZipFile(tmp_path / "policy.pt2") as archive:
        names = archive.namelist()
        configs = [json.loads(archive.read(n)) for n in names if n.endswith("_config.json")]
        pickles = [n for n in names if archive.read(n)[:4] == b"PK\3\4"]  # torch.save
    assert len(configs) == 2
    assert not any(part["use_pickle"] for c in configs for part in c["config"].values())
    assert [name.partition("/")[2] for name in pickles] == ["data/sample_inputs/model.pt"]


def test_double_precision(tmp_path):
    policy = deployed().double()
    assert export_policy(policy, tmp_path / "policy.pt2")["dtype"] == "float64"
    observation = torch.randn(2, 3, dtype=torch.float64)
    noise = policy.draw_noise(observation)
    torch.testing.assert_close(
        played(tmp_path / "policy.pt2", observation, noise),
        policy.environment_action(policy.act(observation, noise)),
        rtol=1e-12,
        atol=1e-12,
    )


def test_the_policy_itself_stays_as_it_was(tmp_path):
    policy = small("fql").policy.train()
    export_policy(policy, tmp_path / "policy.pt2")
    assert policy.training
    assert all(parameter.requires_grad for parameter in policy.parameters())


class Restless(Actor):
    """Acts otherwise each time."""

    calls = 0

    def __init__(self) -> None:
        super().__init__(2, 2)

    def raw(self, observation, noise):
        self.calls += 1
        return observation + noise / self.calls


class Peeking(Restless):
    """Looks at a number."""

    def raw(self, observation, noise):
        return observation if noise.sum() > 0 else noise


def test_refusals(tmp_path):
    path = tmp_path / "policy.pt2"
    path.write_bytes(b"old")
    with pytest.raises(CheckpointError, match=r"differs from Restless by .*nothing was written"):
        export_policy(Restless(), path)
    with pytest.raises(ConfigError, match=r"what Peeking computes cannot be traced"):
        export_policy(Peeking(), path)
    with pytest.raises(ConfigError, match=r"policy must be an? Actor, got .*Linear.*load_policy"):
        export_policy(torch.nn.Linear(2, 2), path)
    assert [each.name for each in tmp_path.iterdir()] == ["policy.pt2"]
    assert path.read_bytes() == b"old"
    with pytest.raises(ConfigError, match=r"must end in \.pt2, got 'policy\.onnx'"):
        export_policy(deployed(), tmp_path / "policy.onnx")


def test_the_command(finished_run, tmp_path, capsys):
    out = tmp_path / "maze.pt2"
    assert main(["export", str(finished_run.path), "--out", str(out), "--actor", "flow"]) == 0
    printed = capsys.readouterr().out
    assert hashlib.sha256(out.read_bytes()).hexdigest() in printed
    assert "observation [B, 2], noise [B, 2] -> action [B, 2], float32" in printed
    assert 'policy = torch.export.load("maze.pt2").module()' in printed
    flow = load_policy(finished_run.path, actor="flow")
    given = inputs(flow, 4)
    torch.testing.assert_close(played(out, *given), flow.act(*given))
    assert main(["export", str(finished_run.path), "--out", str(out), "--step", "10"]) == 0
    older = load_policy(finished_run.path, step=10)
    torch.testing.assert_close(played(out, *given), older.act(*given))
    assert main(["export", str(tmp_path / "nowhere")]) == 2
