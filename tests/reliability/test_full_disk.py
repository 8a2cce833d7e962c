"""Where no more can be written, what is there stays, and the message says what to do."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

import pytest
import torch

from flowpolicy import cli
from flowpolicy.checkpoint import Checkpoints
from flowpolicy.errors import CheckpointError
from flowpolicy.run_folder import RunFolder
from tests.reliability.tiny_run import small_data, tiny_run
from tests.run.conftest import learn, tiny_agent


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside, no file of this process can grow beyond ``size`` bytes: writing fails there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_earlier_checkpoints_stay(tmp_path) -> None:
    agent, checkpoints = tiny_agent(), Checkpoints(tmp_path, keep=1)
    first = checkpoints.save(agent)
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    learn(agent, torch.Generator().manual_seed(0), 1)
    for size in (0, 100, 5000):
        with (
            largest_file(size),
            pytest.raises(
                CheckpointError,
                match=r"step_00000001 cannot be written \(File too large\); earlier ones are as "
                "they were. Make room, then resume the run",
            ),
        ):
            checkpoints.save(agent)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step_00000000"]
        assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    assert checkpoints.load(tiny_agent(1)).path == first
    assert checkpoints.save(agent).name == "step_00000001"


@pytest.mark.parametrize("size", [0, 1000, 5000])
def test_a_run_ends_with_one_line_and_goes_on_when_there_is_room(tmp_path, size, capsys) -> None:
    out, config = tmp_path / "run", tmp_path / "config.json"
    values = tiny_run(small_data(tmp_path)).replace(offline_steps=4, eval_every=0)
    RunFolder(tmp_path).write_json("config.json", values.to_dict())
    command = ["train", "fql", "--config", str(config), "--out", str(out), "--resume", "auto"]
    with largest_file(size):
        assert cli.main(command) > 0
    told = capsys.readouterr().err
    assert "File too large" in told
    assert "Traceback" not in told
    assert not list(out.rglob(".tmp-*"))
    assert cli.main(command) == 0
    assert RunFolder(out).checkpoints.steps() == [4]
