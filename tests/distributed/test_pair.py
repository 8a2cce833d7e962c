"""Two processes learn what one learns from the whole batch, and notice when they come apart."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowpolicy.checkpoint.agent_files import MODEL, OPTIMIZER_TENSORS, tensors_in
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import train
from tests.distributed.cases import CASES, SLOW_CASES, Results
from tests.distributed.refusals import REFUSALS
from tests.distributed.runs import copy_of_the_first_half
from tests.run.conftest import TINY

ROOT = Path(__file__).parents[2]


def of_both(folder: Path, kind: str, timeout: float) -> list[dict[str, Any]]:
    """What each of two processes found."""
    command = [sys.executable, "-m", "tests.distributed.pair", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLOWPOLICY_DATA": str(EMBEDDED)}
    processes = [
        subprocess.Popen([*command, str(rank), kind], cwd=ROOT, env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=timeout) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return [{**each, "folder": folder} for each in found]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One pair for all fast tests, because it takes seconds."""
    folder = tmp_path_factory.mktemp("pair")
    train(TINY, folder / "alone", progress=False)
    copy_of_the_first_half(folder / "alone", folder / "resumed")
    return of_both(folder, "fast", timeout=110)


def said(key: str, message: str) -> str:
    return f"{key}: {message}"


def require_equal(pair: list[dict[str, Any]], name: str, alone: Results) -> None:
    first, second = (found["results"][name] for found in pair)
    assert first.keys() == second.keys() == alone.keys()
    for key, value in alone.items():
        told = {"equal_nan": True, "msg": partial(said, key)}
        assert_close(first[key], second[key], rtol=0, atol=0, **told)
        assert_close(first[key], value.detach(), rtol=1e-10, atol=1e-12, **told)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_do_what_one_does_with_all_rows(pair, name) -> None:
    require_equal(pair, name, CASES[name]())


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(600)
def test_compiled_updates_of_two_processes(tmp_path) -> None:
    found = of_both(tmp_path, "slow", timeout=400)
    for name, case in SLOW_CASES.items():
        require_equal(found, name, case())


@pytest.mark.parametrize("name", REFUSALS)
def test_a_pair_that_comes_apart_is_told_so_on_every_rank(pair, name) -> None:
    _, message = REFUSALS[name]
    for found in pair:
        assert re.search(message, found["refused"][name])


def end_of(run: Path) -> dict[str, torch.Tensor]:
    """Weights and optimizer state at the end of a run."""
    files = RunFolder(run).checkpoints.read(20).files
    return tensors_in(files, MODEL, "end") | tensors_in(files, OPTIMIZER_TENSORS, "end")


def require_close(run: Path, other: Path) -> None:
    """Float32, and Adam magnifies rounding."""
    first, second = end_of(run), end_of(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert_close(value, second[name], rtol=1e-3, atol=1e-4, msg=partial(said, name))


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


def test_a_run_of_two_processes_is_the_run_of_one(pair) -> None:
    folder = pair[0]["folder"]
    require_close(folder / "together", folder / "alone")
    together, alone = (rows_of(folder / run / "metrics.csv") for run in ("together", "alone"))
    assert len(together) == len(alone) == 4  # written by one of the two
    for row, expected in zip(together, alone, strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"seconds", "rate"}:
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-2, abs=1e-3)
    assert (folder / "together" / "curve.png").is_file()
    assert len(RunFolder(folder / "together").read_evaluations()) == 4
    assert "processes: 2, 8 rows each" in pair[0]["runs"]["whole"]


def test_a_run_goes_on_with_another_number_of_processes(pair, tmp_path) -> None:
    folder = pair[0]["folder"]
    assert "resumed at update 10" in pair[1]["runs"]["resumed"]
    require_close(folder / "resumed", folder / "alone")
    copy = copy_of_the_first_half(folder / "together", tmp_path / "copy")
    with pytest.warns(UserWarning, match=r"another number of processes \(2, now 1\)"):
        train(TINY, copy, resume=True, progress=False)
    require_close(copy, folder / "alone")


def test_a_signal_to_one_process_ends_both_after_the_same_update(pair) -> None:
    for found in pair:
        assert found["runs"]["stopped"]["signal"] == 15
    assert pair[0]["runs"]["stopped"]["saved"]
    assert RunFolder(pair[0]["folder"] / "stopped").checkpoints.steps() == [10]


def test_two_processes_refuse_what_they_cannot_share(pair) -> None:
    for found in pair:
        odd, online, existing = found["runs"]["refused"]
        assert "batches of 15 rows cannot be shared out evenly among 2 processes" in odd
        assert "only offline updates are shared out" in online
        assert "alone exists already" in existing
    assert not (pair[0]["folder"] / "odd").exists()
