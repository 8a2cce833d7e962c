"""The profile finds every part of an update and counts nothing twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.profile_update import least, table


def event(name: str, microseconds: float, *inner: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(name=name, self_cpu_time_total=microseconds, cpu_children=inner)


def test_what_runs_within_a_product_or_the_optimizer_is_of_their_kind() -> None:
    update = event(
        "update of 1",
        1.0,
        event("aten::addmm", 2.0, event("aten::copy_", 4.0)),
        event("Optimizer.step#Adam.step", 8.0, event("aten::_foreach_add_", 16.0)),
        event("## Call CompiledFxGraph f ##", 32.0, event("graph_0_cpp_fused_add_0", 64.0)),
        event("Torch-Compiled Region: 0/0", 128.0, event("aten::mm", 256.0)),
    )
    assert least([update]) == {
        "matrix products": 262.0,
        "optimizer": 24.0,
        "pointwise, reductions": 64.0,
        "calling them": 32.0,
        "entering the compiled program": 128.0,
        "Python": 1.0,
    }


def test_each_part_counts_where_it_was_fastest() -> None:
    first = event("update of 1", 5.0, event("aten::mm", 20.0), event("aten::add", 3.0))
    second = event("update of 1", 4.0, event("aten::mm", 10.0), event("aten::add", 300.0))
    assert least([first, second]) == {
        "Python": 4.0,
        "matrix products": 10.0,
        "pointwise, reductions": 3.0,
    }


def test_the_table_is_of_each_agent() -> None:
    spent = {1: Counter({"noise": 1.0, "targets": 3.0}), 8: Counter({"noise": 8.0})}
    lines = list(table(spent, {1: 3.0, 8: 8.0}))
    assert lines[0] == "| microseconds | one agent | 8 as one, each |"
    assert "| noise | 1 (25%) | 1 (100%) |" in lines and "| targets | 3 (75%) | 0 (0%) |" in lines
    assert lines[-2:] == ["| all | 4 | 1 |", "| not profiled | 3 | 1 |"]


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("arguments", [["--seeds", "2"], ["--compiled"]])
def test_every_part_of_an_update_is_found(arguments) -> None:
    command = [sys.executable, "-m", "benchmarks.profile_update", "--quick", *arguments]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    spent = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines}
    missing = {kind for kind, cell in spent.items() if cell.startswith("0 ")}
    only_compiled = {"calling them", "entering the compiled program"}
    assert missing == (set() if "--compiled" in arguments else only_compiled)
