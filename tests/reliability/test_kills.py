"""Killed at any moment and started again, a run ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability import kills
from tests.reliability.kills import Trial, differences
from tests.reliability.phases import PHASES

KILLS = 8


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Iterator[Trial]:
    trial = Trial(tmp_path_factory.mktemp("kills"), seed=1)
    trial.kill(KILLS)
    return trial


def test_killed_runs_end_as_the_one_that_was_left_alone(trial) -> None:
    report = trial.report
    assert report.faults == []
    assert report.kills.total() == KILLS
    assert len(report.kills) >= 3
    assert set(report.kills) <= set(PHASES)
    assert report.starts.total() == KILLS + report.runs
    assert any(start.startswith("update") for start in report.starts)


@pytest.fixture
def finished(trial, tmp_path) -> Path:
    """A copy of a finished run, to be spoiled."""
    return shutil.copytree(trial.folder / "run_0", tmp_path / "run", symlinks=True)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run: (run / "checkpoints/.tmp-x").touch(), [".tmp-x is left over"]),
        (lambda run: (run / "curve.png").unlink(), ["curve.png is missing"]),
        (
            lambda run: (run / "eval.csv").write_text("step,success\n20,1.0\n"),
            ["eval.csv differs"],
        ),
        (
            lambda run: shutil.rmtree(run / "checkpoints/step_00000040"),
            ["model.safetensors of the last checkpoint differs", "state.json", "is missing"],
        ),
    ],
    ids=["left-over", "missing", "table", "older"],
)
def test_a_difference_is_found(trial, finished, spoil, told) -> None:
    assert list(differences(finished, trial.undisturbed)) == []
    spoil(finished)
    found = "\n".join(differences(finished, trial.undisturbed))
    assert all(text in found for text in told), found


def test_a_half_written_checkpoint_is_found_right_after_the_kill(finished) -> None:
    assert kills.intact(finished) == []
    model = finished / "checkpoints/step_00000040/model.safetensors"
    os.truncate(model, model.stat().st_size // 2)
    (fault,) = kills.intact(finished)
    assert "after a kill" in fault
    assert "model.safetensors" in fault


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_commands_end_as_the_one_that_was_left_alone(tmp_path) -> None:
    report = kills.kill_commands(tmp_path, kills=2)
    assert report.faults == []
    assert report.kills.total() == 2
