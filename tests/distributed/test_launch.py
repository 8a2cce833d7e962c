"""``flowpolicy train --processes 2``, also where one of the two is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from flowpolicy.cli import main
from flowpolicy.cli.launch import _last_words
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.lock import WriterLock
from flowpolicy.train.process_group import restart_hint
from tests.run.conftest import MAZE

ROOT = Path(__file__).parents[2]
TINY = [
    *("fql", "--env", MAZE, "--hidden", "8", "--flow-steps", "2", "--batch-size", "16"),
    *("--eval-every", "0", "--eval-episodes", "1", "--max-episode-steps", "5"),
    *("--no-tensorboard", "--log-every", "10", "--checkpoint-every", "10"),
    *("--keep-checkpoints", "1000", "--compile", "off"),
]


@contextmanager
def run(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A command in processes of its own, none of which is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLOWPOLICY_DATA": str(EMBEDDED)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def started(out: Path, *more: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return run("flowpolicy", "train", *TINY, "--out", str(out), *more)


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    text, _ = process.communicate(timeout=250)
    assert process.returncode == code, text
    return text


def worker(launcher: int, rank: int) -> int:
    """The process of a rank, by what the launcher put into its environment."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"RANK={rank}".encode() in (
                (path / "environ").read_bytes().split(b"\0")
            ):
                return int(path.name)
        except OSError:
            continue
    raise ProcessLookupError(rank)


def wait_for_checkpoints(out: Path, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while len(RunFolder(out).checkpoints.steps()) < number:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def weights(out: Path) -> dict[str, bytes]:
    files = RunFolder(out).checkpoints.read().files
    return {name: files[name] for name in ("model.safetensors", "optimizer.safetensors")}


def test_two_processes_train_one_agent(tmp_path) -> None:
    out = tmp_path / "run"
    with started(out, "--offline-steps", "10", "--processes", "2") as process:
        text = ended(process)
    assert text.count("processes: 2, 8 rows each") == 1
    assert text.count(f"run folder: {out}") == 1
    assert RunFolder(out).checkpoints.steps() == [10]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_process_changes_no_bit(tmp_path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    steps = ("--offline-steps", "300", "--processes", "2")
    with started(calm, *steps) as process:
        ended(process)
    with started(killed, *steps, "--max-restarts", "2") as process:
        wait_for_checkpoints(killed, 3, process)
        os.kill(worker(process.pid, 1), signal.SIGKILL)
        text = ended(process)
    assert "resumed at update" in text
    assert weights(killed) == weights(calm)
    first, second = ((run / "metrics.csv").read_text() for run in (calm, killed))
    assert len(first.splitlines()) == len(second.splitlines()) == 31


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_restarts_a_killed_process_is_named(tmp_path) -> None:
    out = tmp_path / "run"
    with started(out, "--offline-steps", "100000", "--processes", "2") as process:
        wait_for_checkpoints(out, 1, process)
        os.kill(worker(process.pid, 1), signal.SIGKILL)
        text = ended(process, 1)
    assert "error: process 1 was ended by SIGKILL" in text
    assert "Traceback" not in text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_to_the_launcher_saves_the_run_and_it_goes_on(tmp_path) -> None:
    out = tmp_path / "run"
    with started(out, "--offline-steps", "100000", "--processes", "2") as process:
        wait_for_checkpoints(out, 1, process)
        process.terminate()
        text = ended(process, 143)
    assert "stopped: the state up to here is saved" in text
    steps = RunFolder(out).checkpoints.steps()
    assert steps[-1] % 50 == 0
    with run("flowpolicy", "train", "--resume", str(out), "--processes", "2") as process:
        wait_for_checkpoints(out, len(steps) + 1, process)
        process.terminate()
        text = ended(process, 143)
    assert f"resumed at update {steps[-1]:,}" in text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_processes_save_and_end_where_their_launcher_is_killed(tmp_path) -> None:
    out = tmp_path / "run"
    with started(out, "--offline-steps", "100000", "--processes", "2") as process:
        wait_for_checkpoints(out, 1, process)
        workers = [worker(process.pid, rank) for rank in range(2)]
        process.kill()
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert RunFolder(out).checkpoints.steps()[-1] % 50 == 0
    WriterLock(out).release()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_under_nohup_outlives_the_terminal(tmp_path) -> None:
    out = tmp_path / "run"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        running = started(out, "--offline-steps", "100000", "--processes", "2")
        with running as process:
            wait_for_checkpoints(out, 1, process)
            os.killpg(process.pid, signal.SIGHUP)
            for rank in range(2):
                os.kill(worker(process.pid, rank), signal.SIGHUP)
            wait_for_checkpoints(out, len(RunFolder(out).checkpoints.steps()) + 5, process)
            process.terminate()
            assert "the state up to here is saved" in ended(process, 143)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_last_words_are_those_of_the_latest_attempt(tmp_path) -> None:
    for attempt in (2, 9, 10):
        log = tmp_path / "run" / f"attempt_{attempt}" / "1" / "stderr.log"
        log.parent.mkdir(parents=True)
        log.write_text(f"in attempt {attempt}\n")
    assert _last_words(tmp_path, 1) == "in attempt 10"
    assert _last_words(tmp_path, 0) == "ended without a word"


def test_several_seeds_are_not_started_by_torchrun(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for more in ([], ["--together"]):
        out = str(tmp_path / "run")
        assert main(["train", *TINY, "--out", out, "--seeds", "0", "1", *more]) == 2
        assert "several seeds are started without it" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_by_hand(tmp_path) -> None:
    launcher = ("torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "-m")
    out = tmp_path / "run"
    train = ("flowpolicy", "train", *TINY, "--offline-steps", "10", "--out", str(out))
    with run(*launcher, *train) as process:
        text = ended(process)
    assert text.count("unless it is started with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1") == 1
    assert text.count("processes: 2, 8 rows each") == 1
    assert RunFolder(out).checkpoints.steps() == [10]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--processes", "3"], "batches of 16 rows cannot be shared out evenly among 3 processes"),
        (["--processes", "2", "--seeds", "0", "1"], "--seeds trains several"),
        (["--processes", "2", "--max-restarts", "-1"], "max_restarts must be at least 0, got -1"),
        (["--processes", "2", "--online-steps", "5"], "only offline updates are shared out"),
        (["--processes", "2", "--device", "cuda:1"], "each of 2 processes sees one of its own"),
        (["--max-restarts", "3"], "--max-restarts 3 is of --processes: start other runs again"),
        (["--max-restarts", "3", "--seeds", "0", "1"], "--max-restarts 3 is of --processes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(more, message, tmp_path, capsys) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_restarts_that_would_fail_are_announced(monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    assert restart_hint() is None
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in restart_hint()


def test_torchrun_needs_a_name_for_the_folder(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert main(["train", *TINY]) == 2
    assert "--out is needed with torchrun" in capsys.readouterr().err
