"""Peak memory of an update, beside what it cannot do without."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.memory import CLEAR

pytestmark = pytest.mark.skipif(not CLEAR.exists(), reason="reads the peak from Linux")


@pytest.mark.parametrize("form", ["compiled", "eager"])
@pytest.mark.parametrize("size", ["64x2", "512x4"])
@pytest.mark.parametrize("recipe", ["fql"])
def test_memory(recipe, size, form, benchmark) -> None:
    """In a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", recipe, size, form]

    def measure() -> dict:
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    if form == "compiled":
        measure()  # afterwards both programs come from the cache: the compiler leaves memory free
    found = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(
        values={"peak": [found["peak"]], "needed": [sum(found["parts"].values())]},
        unit="B",
        parts=found["parts"],
        threads=1,  # whatever the others have
        targets={"needed": 1.5},
    )
