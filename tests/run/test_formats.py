"""Checkpoints of every format that there was are gone on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flowpolicy.checkpoint import Checkpoints, load_policy, read_directory
from flowpolicy.checkpoint.agent_files import DATA, ENVIRONMENT
from flowpolicy.checkpoint.migrations import FORMAT_VERSION
from tests.run.checkpoints import make

VERSIONS = range(1, FORMAT_VERSION + 1)


def folder(version: int) -> Path:
    return make.HERE / f"v{version}"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint_of_every_format_is_gone_on_from(version):
    """Its next updates, draws and actions are those that the code of its day made."""
    expected = json.loads((folder(version) / make.EXPECTED).read_text())
    learner, batches = make.agent(9), torch.Generator().manual_seed(9)
    decay = make.schedule(learner) if version > 1 else None  # the first format had no extras
    extras = {"schedule": decay} if decay else {}
    Checkpoints(folder(version)).load(learner, generators={"batches": batches}, extras=extras)
    now = make.continued(learner, batches, decay)
    assert now["draws"] == expected["draws"]
    assert now["step"] == expected["step"]
    for name in expected:
        assert now[name] == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("version", VERSIONS)
def test_a_policy_of_every_format_is_loaded(version):
    policy = load_policy(folder(version))
    assert policy.observation_mean.tolist() == [0.5, 0.0, -0.5]
    learner = make.agent(9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # the schedule is left out
        Checkpoints(folder(version)).load(learner)
    observation, noise = torch.ones(3), torch.full((2,), 0.5)
    assert torch.equal(
        policy.act(observation + policy.observation_mean, noise), learner.act(observation, noise)
    )


def test_what_the_first_format_knew_is_in_the_files_of_today():
    files = read_directory(folder(1) / "step_00000003")
    assert set(files) == set(read_directory(folder(FORMAT_VERSION) / "step_00000003"))
    assert json.loads(files[ENVIRONMENT]) == {"packages": {"torch": "2.13.0+cpu"}, "threads": 1}
    assert json.loads(files[DATA]) == {}


def test_the_files_on_the_disk_stay_as_they_are():
    manifest = json.loads((folder(1) / "step_00000003" / "manifest.json").read_text())
    assert manifest["format_version"] == 1
    read_directory(folder(1) / "step_00000003")
    assert json.loads((folder(1) / "step_00000003" / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize("version", VERSIONS)
def test_they_are_small(version):
    assert sum(p.stat().st_size for p in folder(version).rglob("*") if p.is_file()) < 60_000
