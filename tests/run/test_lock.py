"""One process writes in the folder of a run at a time."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from flowpolicy.data import Dataset
from flowpolicy.errors import ConfigError
from flowpolicy.train import lock, train
from flowpolicy.train.lock import WriterLock
from tests.run.pole import SHORT, pole_data

RUN = SHORT.replace(online_steps=0, offline_steps=2, eval_episodes=1)

pytestmark = pytest.mark.usefixtures("quick_curves")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data()


def test_a_second_writer_is_told_who_is_the_first(tmp_path):
    """Until that one is gone, however it goes."""
    here, there = os.pipe()
    holder = os.fork()
    if not holder:
        held = WriterLock(tmp_path)
        os.write(there, b"held")
        time.sleep(60)
        os._exit(held is None)
    try:
        assert os.read(here, 4) == b"held"
        expected = f"{tmp_path} is being written by process {holder} on .*; wait for its end"
        with pytest.raises(ConfigError, match=expected):
            WriterLock(tmp_path)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(here), os.close(there)
    WriterLock(tmp_path).release()


@pytest.mark.parametrize("resume", [True, "auto"])
def test_a_run_that_is_trained_is_not_resumed(out, data, resume):
    folder = train(RUN, out, dataset=data, progress=False)
    folder.curve.unlink()  # not finished
    held = WriterLock(out)
    with pytest.raises(ConfigError, match=f"is being written by process {os.getpid()} on "):
        train(RUN, out, dataset=data, resume=resume, progress=False)
    held.release()
    assert train(RUN, out, dataset=data, resume=resume, progress=False).curve.is_file()


def test_a_lock_can_be_released_and_taken_again(tmp_path):
    for _ in range(2):
        held = WriterLock(tmp_path)
        held.release()
        held.release()
    assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()} on ")


def test_without_fcntl_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    first = WriterLock(tmp_path)
    WriterLock(tmp_path).release()
    first.release()


def test_what_killed_writers_left_is_collected(out, data):
    folder = train(RUN, out, dataset=data, progress=False)
    folder.curve.unlink()
    (out / ".tmp-eval.csv").write_text("step")
    (out / "checkpoints" / ".tmp-step_00000002-1-abcd").mkdir()
    (out / "checkpoints" / ".tmp-step_00000002-1-abcd" / "model.safetensors").write_bytes(b"half")
    (out / "checkpoints" / ".tmp-last-1-abcd").symlink_to("step_00000002")
    (out / ".mine").write_text("a file of the user")
    train(RUN, out, dataset=data, resume=True, progress=False)
    assert not list(out.rglob(".tmp-*"))
    assert (out / ".mine").is_file()


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match=r"has no locks \(No locks available\), so that two"):
        WriterLock(tmp_path).release()
    monkeypatch.setattr(lock, "NO_LOCKS", ())  # another error
    with pytest.raises(OSError, match="No locks available"):
        WriterLock(tmp_path)
