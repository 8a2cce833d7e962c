"""A run goes on where it was, and only as the run that it was."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from flowpolicy.checkpoint.agent_files import DATA
from flowpolicy.data import Dataset
from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import train
from tests.run.pole import SHORT, pole_data

OFFLINE = SHORT.replace(online_steps=0, offline_steps=20, eval_every=0, eval_episodes=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data) -> RunFolder:
    """An undisturbed run; read-only."""
    return train(OFFLINE, tmp_path_factory.mktemp("whole") / "run", dataset=data, progress=False)


@pytest.fixture
def copy(whole, tmp_path) -> RunFolder:
    """A copy of it that may be changed, as left after its first checkpoint."""
    folder = RunFolder(tmp_path / "copy")
    shutil.copytree(whole.path, folder.path, symlinks=True)
    folder.checkpoints.drop_after(10)
    return folder


# --- the same data -------------------------------------------------------------------------------


def renamed(data: Dataset, **changes) -> Dataset:
    return Dataset.from_blocks(data.blocks, data.columns, dataclasses.replace(data.info, **changes))


def test_the_content_of_the_data_is_part_of_a_checkpoint(whole, data):
    told = json.loads(whole.checkpoints.read().files[DATA])
    assert told == whole.read_json("data.json")
    assert told["fingerprint"] == data.fingerprint()


def test_other_content_is_refused(copy, data):
    entries = data.entries()
    entries["observation"] = entries["observation"].clone()
    entries["observation"][7, 1] += 1e-6
    other = Dataset(entries, data.info)
    with pytest.raises(ConfigError, match=r"with fingerprint '\w+', these have '\w+'; resume it"):
        train(OFFLINE, copy.path, dataset=other, resume=True, progress=False)
    (copy.path / "data.json").write_text("{}")  # the checkpoint knows it, too
    with pytest.raises(ConfigError, match=r"checkpoint .*step_00000010 was trained on .*fingerpr"):
        train(OFFLINE, copy.path, dataset=other, resume=True, progress=False)


def test_another_meaning_is_refused(copy, data):
    other = renamed(data, success_timing="post")
    with pytest.raises(ConfigError, match="with success_timing None, these have 'post'; resume"):
        train(OFFLINE, copy.path, dataset=other, resume=True, progress=False)


def test_the_same_content_from_elsewhere_goes_on(copy, whole, data):
    moved = renamed(data, name="moved", origin="file", files={"other.npz": "0"})
    train(OFFLINE, copy.path, dataset=moved, resume=True, progress=False)
    ours, theirs = (f.checkpoints.read().files["model.safetensors"] for f in (copy, whole))
    assert ours == theirs


def test_a_run_of_before_fingerprints_goes_on(copy, data):
    record = copy.read_json("data.json")
    del record["fingerprint"]
    copy.write_json("data.json", record)
    moved = renamed(data, name="moved")
    with pytest.raises(ConfigError, match="with name 'pole', these have 'moved'"):
        train(OFFLINE, copy.path, dataset=moved, resume=True, progress=False)
    assert train(OFFLINE, copy.path, dataset=data, resume=True, progress=False)
