"""A sweep survives kills of its processes and of itself, and shares its cells with another one."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowpolicy.benchmark.grid import Grid
from flowpolicy.cli import main
from flowpolicy.errors import ConfigError
from tests.run.conftest import MAZE

ROOT = Path(__file__).parents[2]
RUN = (
    "batch_size = 16\neval_every = 0\neval_episodes = 2\nmax_episode_steps = 5\nhidden = [8]\n"
    "flow_steps = 2\nlog_every = 100\ncheckpoint_every = 100\n"
)
SEARCH = "[search]\ntrials = 3\nat_once = 1\nlr = { low = 1e-4, high = 1e-2, log = true }\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def write(grid: str, *, steps: int, more: str = "") -> None:
    text = f"[grid]\n{grid}\n[run]\noffline_steps = {steps}\n{RUN}{more}"
    Path("my.toml").write_text(text)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(*more: str) -> list[str]:
    return ["sweep", "my.toml", "--out", "s", *more]


def start(*more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flowpolicy", *command(*more)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(process.communicate()[0] if process.poll() is not None else "no progress")
        time.sleep(0.05)


def trainers(process: subprocess.Popen[str]) -> list[int]:
    """The processes of its runs."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    of = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, line in of.items() if b"spawn_main" in line]


def study() -> Any:
    """That of the search in ``s``."""
    pytest.importorskip("optuna")
    from flowpolicy.benchmark.search import open_study

    return open_study(Path("s"), Grid.read("my.toml").settings, seed=0)


def checkpoints(cell: Path) -> list[Path]:
    return sorted((cell / "checkpoints").glob("step_*"))


def test_a_run_that_is_killed_is_tried_again_from_its_checkpoint():
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]', steps=1500)
    cell = Path(f"s/{MAZE}/flow_bc/seed_0")
    process = start("--jobs", "1")
    wait_for(lambda: checkpoints(cell), process)
    os.kill(*trainers(process), signal.SIGKILL)
    begun = (cell / "versions.json").stat().st_mtime_ns
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "FAILED: its process was killed by SIGKILL" in said
    assert (cell / "versions.json").stat().st_mtime_ns == begun
    assert not (cell / "failed.json").exists()


def test_a_sweep_that_is_killed_goes_on_and_reports():
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]\nlr = [1e-3, 1e-4]', steps=1000)
    cells = [Path(f"s/{MAZE}/flow_bc,lr={lr}/seed_0") for lr in (0.001, 0.0001)]
    process = start("--jobs", "1")
    wait_for(lambda: checkpoints(cells[1]), process)
    process.kill()
    process.communicate(timeout=60)  # until its run is gone, which saves its state, as after Ctrl-C
    begun = [(cell / "versions.json").stat().st_mtime_ns for cell in cells]
    kept = (cells[0] / "finished.json").stat().st_mtime_ns
    assert not (cells[1] / "finished.json").exists()
    assert main(command("--jobs", "1")) == 0
    assert (cells[0] / "finished.json").stat().st_mtime_ns == kept
    assert [(cell / "versions.json").stat().st_mtime_ns for cell in cells] == begun
    with Path("s/table.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"flow_bc,lr=0.001", "flow_bc,lr=0.0001"}
    assert all(row["seeds"] == "0" and row["updates"] == "1000" for row in rows.values())


def test_two_sweeps_share_their_cells():
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]\nseed = [0, 1]', steps=1000)
    first, second = start("--jobs", "1"), start("--jobs", "1")
    outputs = [process.communicate(timeout=250)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert all(Path(f"s/{MAZE}/flow_bc/seed_{n}/finished.json").is_file() for n in range(2))
    for n in range(2):  # each was begun once, and run to its end by one of them
        rows = Path(f"s/{MAZE}/flow_bc/seed_{n}/metrics.csv").read_text().splitlines()
        assert len(rows) == 11
    assert any("is run by another process" in said for said in outputs)


def test_one_cell_of_an_array_runs_alone(capsys):
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]\nseed = [0, 1]', steps=100)
    assert main(command("--cell", "1")) == 0
    assert [p.parent.name for p in Path("s").glob("*/*/*/finished.json")] == ["seed_1"]
    assert not Path("s/table.csv").exists()
    assert main(command("--report-only")) == 0
    assert "flow_bc" in Path("s/table.csv").read_text()
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]\neval_actors = [["flw"]]', steps=100)
    assert main(command("--cell", "0", "--retries", "0")) == 1
    said = capsys.readouterr()
    assert "failed: s/" in said.out and "unknown actor of flow_bc 'flw'" in said.out
    assert "1 runs failed; the same command goes on with them" in said.err


def test_a_search_that_is_killed_takes_up_the_trial_that_it_was_at():
    optuna = pytest.importorskip("optuna")
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]', steps=1000, more=SEARCH)
    process = start()
    saved = "*/*/*/checkpoints/step_*"
    wait_for(lambda: len({path.parents[1] for path in Path("s").glob(saved)}) == 2, process)
    process.kill()
    process.wait()
    (cut,) = (t for t in study().trials if not t.state.is_finished())
    cells = [p.parent for p in Path("s").glob("*/*/*/config.json")]
    begun = {cell: (cell / "versions.json").stat().st_mtime_ns for cell in cells}
    assert main(command()) == 0  # at once: its run is still saving, and is waited for
    process.communicate(timeout=60)
    trials = study().trials
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") == 3 and states.count("FAIL") == 1 and len(trials) == 4
    assert trials[cut.number].state == optuna.trial.TrialState.FAIL
    (again,) = (trial for trial in trials if trial.user_attrs == {"again": cut.number})
    assert again.params == cut.params
    assert len(list(Path("s").glob("*/*/*/finished.json"))) == 3
    assert {cell: (cell / "versions.json").stat().st_mtime_ns for cell in cells} == begun
    assert main(command()) == 0  # nothing is left to do
    assert len(study().trials) == 4


def test_what_failed_in_a_search_is_tried_again_once_in_each_start():
    optuna = pytest.importorskip("optuna")
    from flowpolicy.benchmark.search import _end, give_back, tried

    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]', steps=1, more=SEARCH)
    Path("s").mkdir()
    trials = study()
    space = Grid.read("my.toml").space
    failed, impossible = trials.ask(), trials.ask()
    chosen = space.suggest(failed)
    _end(trials, failed, {Path("s/a"): None})  # whose cell did not finish
    space.suggest(impossible)
    _end(trials, impossible, {})
    assert tried(trials) == 2
    for _ in range(2):
        give_back(trials)
        give_back(trials)
        assert tried(trials) == 1
        again = trials.ask()
        assert space.suggest(again) == chosen
        trials.tell(again, state=optuna.trial.TrialState.FAIL)
        assert tried(trials) == 2
    assert trials.ask().user_attrs == {}  # nothing else is


@pytest.mark.parametrize(
    ("more", "steps", "message"),
    [
        (SEARCH.replace("1e-2", "1e-1"), 1, r"\[search\] lr \{.*0.01.*the grid says \{.*0.1"),
        (SEARCH, 2, r"\[run\] offline_steps 1, the grid says 2"),
        (SEARCH + "n_step = { choices = [1, 2] }", 1, r"\[search\] n_step None, the grid says"),
    ],
)
def test_a_search_does_not_go_on_with_another(more, steps, message):
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]', steps=1, more=SEARCH)
    Path("s").mkdir()
    study()
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]', steps=1, more=SEARCH.replace("= 3", "= 9"))
    study()  # of more trials
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]', steps=steps, more=more)
    with pytest.raises(ConfigError, match=f"search.journal is of a search with {message}.*--out"):
        study()


@pytest.mark.ray
def test_ray_runs_cells_and_tells_of_failures():
    pytest.importorskip("ray")
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]\nseed = [0, 1]', steps=100)
    process = start("--backend", "ray")
    said, _ = process.communicate(timeout=250)
    assert process.returncode == 0, said
    assert len(list(Path("s").glob("*/*/*/finished.json"))) == 2
    write(f'agent = ["flow_bc"]\nenv = ["{MAZE}"]\neval_actors = [["flw"]]', steps=100)
    process = start("--backend", "ray", "--retries", "0")
    said, _ = process.communicate(timeout=250)
    assert process.returncode == 1, said
    assert "unknown actor of flow_bc 'flw'" in said
