"""Training on and on needs no more memory and no more files."""

from __future__ import annotations

import dataclasses
import json
import mmap

import numpy as np
import pytest

from tests.reliability import soak

GOOD = soak.Figures(
    minutes=1.0,
    updates=1000,
    checkpoints=100,
    evaluations=10,
    memory_start=400.0,
    memory_end=400.0,
    growth=0.01,
    growth_error=0.01,
    files_start=10,
    files_end=10,
    left_over=0,
)


def test_the_slope_of_points_with_noise() -> None:
    x = np.linspace(0, 1000, 200)
    noise = np.random.default_rng(0).normal(size=200)
    value, error = soak.slope(x, 3 + 0.02 * x + noise)
    assert abs(value - 0.02) < 3 * error
    assert error == pytest.approx(1 / np.sqrt(200 * x.var()), rel=0.1)
    assert soak.slope(x[:2], x[:2])[1] == np.inf


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"growth": 0.2}, "memory grows by more than 0.1 MiB in 1,000 updates"),
        ({"files_end": 11}, "files are left open"),
        ({"left_over": 2}, "files are left over"),
    ],
)
def test_limits(change, told) -> None:
    assert GOOD.faults() == []
    assert "within all limits" in str(GOOD)
    worse = dataclasses.replace(GOOD, **change)
    assert worse.faults() == [told]
    assert told in str(worse)


def test_a_leak_is_measured() -> None:
    before, files = soak.memory(), soak.open_files()
    hoard = mmap.mmap(-1, 32 * 2**20)  # malloc may have room from before
    np.frombuffer(hoard, np.uint8)[:] = 1
    with open("/dev/null", "rb"):  # noqa: PTH123
        assert soak.open_files() == files + 1
    assert soak.memory() - before > 0.9 * len(hoard) / soak.MIB


@pytest.mark.slow
def test_twenty_seconds(tmp_path, capsys) -> None:
    out = tmp_path / "soak.json"
    options = ["--minutes", "0.33", "--most-growth", "1", "--out", str(out)]  # all of it warm-up
    assert soak.main(options) == 0, capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["faults"] == []
    assert found["checkpoints"] >= 10
    assert found["files_start"] == found["files_end"]
