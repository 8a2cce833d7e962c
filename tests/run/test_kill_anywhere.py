"""A run that is killed before any operation on its files goes on to the same end."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowpolicy.data import Dataset
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import train
from tests.run.pole import SHORT, pole_data
from tests.run.test_online import without_times

pytestmark = pytest.mark.usefixtures("quick_curves")

RUN = SHORT.replace(
    online_steps=0,
    offline_steps=9,
    eval_every=3,
    eval_episodes=1,
    checkpoint_every=3,
    keep_checkpoints=1,
    log_every=1,
    max_episode_steps=3,
)
CHANGES = {"os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pole_data(60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data) -> RunFolder:
    """A run that was never disturbed; read-only."""
    return train(RUN, tmp_path_factory.mktemp("whole") / "run", dataset=data, progress=False)


def before_every_change(folder: Path, act: Callable[[str], None]) -> None:
    """From now on calls ``act`` before every change to files below a folder, and says which."""

    def watch(event: str, arguments: tuple) -> None:
        writes = event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and any(str(folder) in str(each) for each in arguments[:2]):
            act(f"{event} {arguments[0]} {arguments[1]}".replace(str(folder), ""))

    sys.addaudithook(watch)


def in_a_process(work: Callable[[], int]) -> int:
    """Its exit code; the process is a copy of this one, so that nothing is imported again."""
    child = os.fork()
    if not child:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trained(out: Path, data: Dataset, change: str = "", nth: int = 0) -> int:
    """0 where the run came to its end, 9 where it was killed before the n-th such change."""

    def work() -> int:
        changes = 0

        def count(what: str) -> None:
            nonlocal changes
            changes += re.search(change, what) is not None
            if changes == nth:
                os._exit(9)  # no clean-up, as with SIGKILL

        if nth:
            before_every_change(out, count)
        train(RUN, out, dataset=data, resume="auto", progress=False)
        return 0

    return in_a_process(work)


def goes_on_to_the_same_end(out: Path, data: Dataset, whole: RunFolder) -> None:
    assert trained(out, data) == 0
    folder = RunFolder(out)
    assert without_times(folder.metrics) == without_times(whole.metrics)
    assert without_times(folder.evaluations) == without_times(whole.evaluations)
    ours, theirs = (each.checkpoints.read(9).files for each in (folder, whole))
    for name in ("model.safetensors", "optimizer.safetensors", "online.safetensors"):
        assert ours.get(name) == theirs.get(name)
    assert folder.checkpoints.best == whole.checkpoints.best
    assert folder.checkpoints.steps() == whole.checkpoints.steps()
    left = {p.name for p in out.iterdir()} | {p.name for p in folder.checkpoints.root.iterdir()}
    expected = {p.name for p in whole.path.iterdir()}
    expected |= {p.name for p in whole.checkpoints.root.iterdir()}
    assert left == expected


@pytest.mark.parametrize(
    ("change", "nth"),
    [
        (r"open /\.tmp-config", 1),  # the folder is empty
        (r"open /\.lock", 1),
        (r"mkdir .*step_00000003", 1),  # there are rows, and no checkpoint
        (r"open .*step_00000003.*/state", 1),  # in the middle of a checkpoint
        (r"symlink .*last", 1),  # there is a checkpoint, and no link to it
        (r"symlink .*best", 1),  # evaluated, and not marked
        (r"open /eval\.csv", 2),  # saved, and not evaluated
        (r"rename .*-old-", 1),  # more than shall be kept
        (r"open /curve\.png", 1),  # all but finished
    ],
)
def test_a_kill_before_a_change(out, data, whole, change, nth):
    assert trained(out, data, change, nth) == 9
    goes_on_to_the_same_end(out, data, whole)


def test_kills_while_going_on(out, data, whole):
    """In the middle of the run, then at links, tables and left-overs as they are put right."""
    kills = [
        (r"symlink .*last", 2),
        (r"remove .*\.tmp-", 1),
        (r"rename .*\.tmp-metrics", 1),
        (r"open .*\.tmp-eval", 1),
        (r"open /metrics", 2),
    ]
    for change, nth in kills:
        assert trained(out, data, change, nth) == 9, change
    goes_on_to_the_same_end(out, data, whole)


def test_a_kill_in_the_middle_of_a_row(out, data, whole):
    assert trained(out, data, "open /metrics", 5) == 9
    with (out / "metrics.csv").open("a") as file:
        file.write("5,0,1.23,4")
    with (out / "eval.csv").open("a") as file:
        file.write("6,0,pol")
    goes_on_to_the_same_end(out, data, whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_before_any_change(tmp_path, data, whole):
    nth = 1
    while trained(tmp_path / f"{nth}", data, "", nth) == 9:
        goes_on_to_the_same_end(tmp_path / f"{nth}", data, whole)
        nth += 1
    assert nth > 60
