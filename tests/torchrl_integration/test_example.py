"""The example of a TorchRL pipeline that gains a flow runs, is short, and shows what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "torchrl_pipeline.py"


def test_the_example_is_short():
    lines = EXAMPLE.read_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    # Every line that speaks of the library is marked.
    assert all("# +" in line for line in lines if re.search(r"\bfp\.\w|flowpolicy", line))


@pytest.mark.timeout(300)
def test_the_example_shows_the_gain():
    run = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = re.findall(r"^(.+): (\d+) of 500$", run.stdout, re.MULTILINE)
    returns = {name: int(value) for name, value in found}
    assert list(returns) == ["behaviour", "DDPG alone", "DDPG with flow and distillation"]
    assert returns["DDPG alone"] < returns["behaviour"]
    assert returns["DDPG with flow and distillation"] > 2 * returns["DDPG alone"]
