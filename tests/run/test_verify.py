"""Everything that is damaged is found and named, one line each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import flowpolicy as fp
from flowpolicy.checkpoint import (
    Checkpoints,
    read_directory,
    verify_checkpoint,
    write_directory,
)
from flowpolicy.checkpoint.migrations import FORMAT_VERSION
from flowpolicy.checkpoint.tensors import bytes_to_tensors, tensors_to_bytes
from flowpolicy.cli import main
from flowpolicy.data import Dataset
from flowpolicy.errors import CheckpointError, ConfigError, DataError
from tests.run.checkpoints import make
from tests.run.pole import pole_data
from tests.run.test_checkpoint_directory import with_version


def flip(path: Path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """Three checkpoints of a run, which is the current folder's ``run``."""
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("run/checkpoints")
    for step in (1, 2, 3):
        agent = make.agent(step)
        agent.step = step
        checkpoints.save(agent, config={"recipe": make.RECIPE})
    Path("run/config.json").write_text("{}")
    return Path("run")


def verified(capsys, *paths: object) -> tuple[int, list[str]]:
    code = main(["verify", *map(str, paths)])
    return code, capsys.readouterr().out.splitlines()


def test_all_intact(run, capsys):
    lines = [f"intact   run/checkpoints/step_0000000{n}" for n in (1, 2, 3)]
    last = "newest intact in run/checkpoints: step_00000003"
    for path in (run, run / "checkpoints"):
        assert verified(capsys, path) == (0, [*lines, last])
    assert verified(capsys, run / "checkpoints" / "last") == (0, ["intact   run/checkpoints/last"])


def test_what_is_damaged_is_named_with_what_is_not(run, capsys):
    flip(run / "checkpoints" / "step_00000003" / "model.safetensors")
    (run / "checkpoints" / "step_00000001" / "rng.safetensors").unlink()
    code, lines = verified(capsys, run)
    assert code == 1
    assert lines[0].startswith("damaged  checkpoint run/checkpoints/step_00000001: rng.safetensors")
    assert lines[1] == "intact   run/checkpoints/step_00000002"
    assert "content of model.safetensors changed since it was written" in lines[2]
    assert lines[3] == "newest intact in run/checkpoints: step_00000002"


def test_an_intact_one_of_a_newer_format_is_not_called_damaged(run, capsys):
    with_version(run / "checkpoints" / "step_00000003", FORMAT_VERSION + 1)
    code, lines = verified(capsys, run)
    assert code == 1
    assert lines[2].startswith("unusable checkpoint run/checkpoints/step_00000003: format version")
    assert lines[3] == "newest intact in run/checkpoints: step_00000002"


def test_one_that_a_run_drops_meanwhile_is_left_out(run, monkeypatch, capsys):
    def reads(path: Path) -> None:
        shutil.rmtree(run / "checkpoints" / "step_00000001", ignore_errors=True)
        verify_checkpoint(path)

    monkeypatch.setattr("flowpolicy.cli.verify.verify_checkpoint", reads)
    code, lines = verified(capsys, run)
    assert (code, [line.split("/")[-1] for line in lines[:2]]) == (
        0,
        ["step_00000002", "step_00000003"],
    )


def test_seeds_and_several_paths(run, capsys):
    for seed in (0, 1):
        shutil.copytree(run, f"runs/x/seed_{seed}", symlinks=True)
    shutil.rmtree("runs/x/seed_0/checkpoints/step_00000001")
    code, lines = verified(capsys, "runs")
    assert (code, len(lines)) == (0, 7)
    for path in Path("runs/x/seed_1/checkpoints").iterdir():
        if path.name.startswith("step"):
            (path / "manifest.json").write_bytes(b"")
    code, lines = verified(capsys, run, "runs")
    assert (code, len(lines)) == (1, 11)
    assert lines[-1] == "newest intact in runs/x/seed_1/checkpoints: none"


def test_nothing_to_verify(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "error: nothing to verify: " in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "missing")]) == 2
    assert main(["verify"]) == 2
    assert "verify what? flowpolicy verify <run folder>" in capsys.readouterr().err


def rewritten(run: Path, name: str, content: bytes) -> Path:
    """A checkpoint with a manifest that fits, and with another file in it."""
    files = read_directory(run / "checkpoints" / "step_00000001")
    return write_directory(run / "checkpoints" / "step_00000009", {**files, name: content})


def test_numbers_that_are_not_finite_are_found(run):
    files = read_directory(run / "checkpoints" / "step_00000001")
    tensors = bytes_to_tensors(files["model.safetensors"], "x")
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = float("nan")
    path = rewritten(run, "model.safetensors", tensors_to_bytes(tensors))
    with pytest.raises(CheckpointError, match=f"1 of .* values of '{name}' are not finite"):
        verify_checkpoint(path)


def test_shapes_that_are_not_the_recipes_are_found(run):
    files = read_directory(run / "checkpoints" / "step_00000001")
    tensors = bytes_to_tensors(files["model.safetensors"], "x")
    name = next(iter(tensors))
    tensors[name] = torch.zeros(7)
    with pytest.raises(CheckpointError, match=r"is float32\[7\] in the checkpoint and"):
        verify_checkpoint(rewritten(run, "model.safetensors", tensors_to_bytes(tensors)))


def test_an_agent_that_is_not_known_is_told(run):
    config = b'{"recipe": {"agent": "fqk", "obs_dim": 3, "act_dim": 2, "options": {}}}'
    with pytest.raises(ConfigError, match="unknown agent 'fqk'; did you mean 'fql'"):
        verify_checkpoint(rewritten(run, "config.json", config))


def test_randomness_is_left_alone(run):
    before = torch.get_rng_state()
    verify_checkpoint(run / "checkpoints" / "step_00000001")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_hand_made_agent_has_its_bytes_looked_at(tmp_path):
    path = Checkpoints(tmp_path).save(fp.agents.flow_bc(3, 2, hidden=(8,)))
    verify_checkpoint(path)
    flip(path / "optimizer.json")
    with pytest.raises(CheckpointError, match=r"optimizer\.json changed"):
        verify_checkpoint(path)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_earlier_formats_are_verified(version, capsys):
    assert verified(capsys, make.HERE / version)[0] == 0


# --- data sets -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data(50)


def test_a_flipped_bit_of_a_saved_data_set_is_found(data, tmp_path, monkeypatch, capsys):
    path = tmp_path / "set.safetensors"
    data.save(path)
    assert verified(capsys, path) == verified(capsys, tmp_path) == (0, [f"intact   {path}"])
    flip(path)
    with pytest.raises(
        DataError, match=r"set\.safetensors: \w+ changed since it was written .SHA-256"
    ):
        Dataset.open(path)
    code, (line,) = verified(capsys, tmp_path)
    assert (code, line[:9]) == (1, "damaged  ")
    monkeypatch.setattr("flowpolicy.data.saved.CHECKED", 100)  # a large file is mapped unread
    assert len(Dataset.open(path)) == len(data)
    assert verified(capsys, path)[0] == 1


def test_a_data_set_is_verified_whatever_its_suffix(data, tmp_path, capsys):
    path = tmp_path / "mine.ds"
    data.save(path)
    assert verified(capsys, path) == (0, [f"intact   {path}"])
    flip(path)
    assert verified(capsys, path)[0] == 1


def test_a_data_set_beside_runs_is_verified_and_the_files_of_a_run_are_not(run, data, capsys):
    data.save(Path("set.safetensors"))
    assert verified(capsys, ".")[1][-1] == "intact   set.safetensors"
    flip(Path("set.safetensors"))
    code, lines = verified(capsys, ".")
    assert (code, lines[-1][:24]) == (1, "damaged  set.safetensors")
    (run / "bad_batch.safetensors").write_bytes(b"cut")
    assert verified(capsys, run)[0] == 0


def test_a_changed_description_is_found(data, tmp_path):
    path = tmp_path / "set.safetensors"
    data.save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"pole\\"', b'\\"poke\\"'))
    assert path.read_bytes() != content
    with pytest.raises(DataError, match="description changed since it was written"):
        Dataset.open(path)


def test_data_sets_of_before_digests_are_read(data, tmp_path, capsys):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "set.safetensors"
    data.save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    del metadata["digests"]
    save_file(load_file(path), path, {**metadata, "format": "flowpolicy-dataset-1"})
    assert Dataset.open(path).fingerprint() == data.fingerprint()
    assert verified(capsys, path) == (0, [f"unknown  {path}: written without digests"])
    save_file(load_file(path), path, metadata)
    with pytest.raises(DataError, match="its digests are damaged"):
        Dataset.open(path)


def test_other_files_of_tensors_are_no_data_sets(tmp_path, capsys):
    from safetensors.torch import save_file

    save_file({"observation": torch.zeros(2)}, tmp_path / "bad_batch.safetensors")
    assert main(["verify", str(tmp_path)]) == 2
    assert "error: nothing to verify" in capsys.readouterr().err
    (tmp_path / "cut.safetensors").write_bytes(b"no header")
    assert main(["verify", str(tmp_path)]) == 1
    assert "damaged  " in capsys.readouterr().out


def test_a_path_with_nothing_does_not_hide_what_is_damaged_elsewhere(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    flip(run / "checkpoints" / "step_00000003" / "model.safetensors")
    assert main(["verify", str(tmp_path / "empty"), str(run)]) == 1
    shutil.rmtree(run / "checkpoints" / "step_00000003")
    assert main(["verify", str(tmp_path / "empty"), str(run)]) == 2
    said = capsys.readouterr()
    assert "step_00000002" in said.out and "empty holds no checkpoint" in said.err


def test_runs_of_a_sweep_are_found_from_the_folder_of_all_runs(run, tmp_path, capsys):
    cell = tmp_path / "runs" / "sweep" / "env" / "method" / "seed_0"
    shutil.copytree(run, cell, symlinks=True)
    assert main(["verify", str(tmp_path / "runs")]) == 0
    assert "seed_0" in capsys.readouterr().out
