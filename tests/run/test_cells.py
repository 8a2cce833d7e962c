"""A cell is run by one process at a time, goes on where it was left, and is finished once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowpolicy.benchmark.backends import LocalBackend
from flowpolicy.benchmark.cell import HeldError, held, lock_of, run_cell, state_of
from flowpolicy.benchmark.cells import failed_cells, finished_cells, run_cells
from flowpolicy.benchmark.search import _clear_up
from flowpolicy.errors import ConfigError, FlowPolicyError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import train
from tests.run.conftest import TINY

QUICK = TINY.replace(
    eval_every=0, eval_episodes=1, max_episode_steps=2, eval_actors=("policy",), threads=1
)
HOLD = (  # what `held` does, without its imports
    "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
    "print('held', flush=True); sys.stdin.read()"
)


def test_one_process_at_a_time_and_a_kill_lets_go(tmp_path):
    cell = tmp_path / "cell"
    command = [sys.executable, "-c", HOLD, str(lock_of(cell))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert state_of(cell) == "running"
        with pytest.raises(HeldError, match=".cell.lock is held by another process"):
            run_cell(QUICK, cell, progress=False)
        assert not cell.exists()
        other.kill()
    with held(lock_of(cell)):
        pass
    assert state_of(cell) == "new"


def test_a_finished_cell_is_left_alone_and_a_stopped_one_goes_on(tmp_path):
    cell = tmp_path / "cell"
    train(QUICK, cell, progress=False)
    begun = (cell / "versions.json").stat().st_mtime_ns
    shutil.rmtree(RunFolder(cell).checkpoints.path(20))
    assert state_of(cell) == "stopped"
    run_cell(QUICK, cell, progress=False)  # from update 10
    assert RunFolder(cell).checkpoints.steps() == [10, 20]
    assert (cell / "versions.json").stat().st_mtime_ns == begun
    assert state_of(cell) == "finished"
    run_cell(QUICK, cell, progress=False)
    run_cell(QUICK.replace(data_root=str(tmp_path)), cell, progress=False)  # moved, not changed
    with pytest.raises(ConfigError, match="was run with batch_size 16, now it is 8; choose"):
        run_cell(QUICK.replace(batch_size=8), cell, progress=False)


def test_a_cell_without_checkpoint_begins_anew_also_with_other_settings(tmp_path):
    cell = tmp_path / "cell"
    RunFolder.create(cell, QUICK.to_dict())  # all that a run killed at once leaves
    run_cell(QUICK.replace(batch_size=8), cell, progress=False)
    assert RunFolder(cell).config()["batch_size"] == 8
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "notes.txt").touch()
    with pytest.raises(ConfigError, match="mine is not the folder of a run: it holds notes.txt"):
        run_cell(QUICK, foreign, progress=False)


def test_a_cell_that_was_killed_as_it_began_begins_anew(tmp_path):
    """Before its configuration was written, which leaves its folder and a staging file."""
    cell = tmp_path / "env" / "a" / "seed_0"
    cell.mkdir(parents=True)
    (cell / ".tmp-config.json-1-ab").touch()
    run_cell(QUICK, cell, progress=False)
    assert state_of(cell) == "finished"
    assert [path.name for path in cell.parent.iterdir() if path.is_dir()] == ["seed_0"]


def test_a_row_of_a_table_is_of_one_setting(tmp_path):
    row = tmp_path / "env" / "a"
    run_cells({row / "seed_0": QUICK}, backend=Here())
    other = QUICK.replace(seed=1, batch_size=8)
    with pytest.raises(ConfigError, match="seed_0 was run with batch_size 16, and .* with 8: one"):
        run_cells({row / "seed_1": other}, backend=Here())
    assert not (row / "seed_1").exists()
    run_cells({row / "seed_1": QUICK.replace(seed=1, threads=2)}, backend=Here())


def test_a_failure_of_another_process_does_not_outlive_the_end(tmp_path):
    cell = tmp_path / "env" / "a" / "seed_0"
    run_cells({cell: QUICK}, backend=Here())
    RunFolder(cell).write_json("failed.json", {"message": "held"})
    assert failed_cells(tmp_path) == {}
    run_cell(QUICK, cell, progress=False)
    assert not (cell / "failed.json").exists()


class Here:
    """A backend without processes."""

    def run(self, cells, ended):
        failures = {}
        for path, config in cells.items():
            try:
                run_cell(config, path, progress=False)
            except FlowPolicyError as error:
                failures[path] = str(error)
            ended(path, failures.get(path))
        return failures


def test_a_failed_cell_is_tried_again_and_does_not_keep_others_from_running(tmp_path, monkeypatch):
    monkeypatch.setattr("flowpolicy.benchmark.cells.PATIENCE", 0.1)
    bad = QUICK.replace(eval_actors=("flw",))
    a, b, c = (tmp_path / "env" / name / "seed_0" for name in "abc")
    cells = {b: bad, a: QUICK, c: QUICK}
    said = []
    with held(lock_of(c)):  # somebody else is at work on it
        failures = run_cells(cells, backend=Here(), retries=1, announce=said.append)
    assert list(failures) == [b] and "unknown actor of fql 'flw'" in failures[b]
    assert sum("FAILED" in line for line in said) == 2
    assert sum("env/c/seed_0 is run by another process" in line for line in said) == 1
    assert "1 runs are tried again" in said
    assert [state_of(cell) for cell in (a, b, c)] == ["finished", "failed", "new"]
    assert failed_cells(tmp_path) == failures
    assert [run.path for run in finished_cells(tmp_path)] == [a]
    assert run_cells({a: QUICK, b: QUICK}, backend=Here(), announce=said.append) == {}
    assert "1 of 2 runs are finished, 1 to go" in said
    assert failed_cells(tmp_path) == {}


@pytest.mark.parametrize("retries", [0, 1])
def test_a_cell_that_another_process_lets_go_of_is_run(tmp_path, retries):
    cell = tmp_path / "env" / "a" / "seed_0"
    cell.parent.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(lock_of(cell))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        said = []

        def tell(line: str) -> None:
            said.append(line)
            if "is run by another process" in line:
                other.stdin.close()  # which ends it

        assert run_cells({cell: QUICK}, backend=Here(), retries=retries, announce=tell) == {}
    assert state_of(cell) == "finished"
    assert "1 runs are tried again" in said


def test_numbers_of_jobs_and_retries_are_checked():
    with pytest.raises(ConfigError, match="jobs must be at least 1, got 0"):
        LocalBackend(0)
    with pytest.raises(ConfigError, match="retries must be at least 0, got -1"):
        run_cells({Path("x"): QUICK}, retries=-1)


def test_what_a_killed_search_leaves_is_cleared_up(tmp_path):
    """A lock that leads nowhere, and half a line of its journal."""
    journal, lock = tmp_path / "search.journal", tmp_path / "search.journal.lock"
    lock.symlink_to("nowhere")
    _clear_up(journal)
    assert not lock.is_symlink() and not journal.exists()
    for content, left in ((b"{}\n{}\n", b"{}\n{}\n"), (b"{}\n{", b"{}\n"), (b"{", b"")):
        journal.write_bytes(content)
        _clear_up(journal)
        assert journal.read_bytes() == left
