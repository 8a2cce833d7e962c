"""Tables and the guard, of made-up runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import guard
from benchmarks.bench_scaling import power_law
from benchmarks.plot import plot_scaling
from benchmarks.report import Measurement, amount, ratios_of, read, tables


def stored(name: str, values: dict[str, list[float]], **facts: Any) -> dict[str, Any]:
    """One benchmark, in the layout of pytest-benchmark's file."""
    extra = {"values": values, "threads": 1, "targets": {}, **facts}
    return {"name": f"test_{name}", "extra_info": extra}


def write(path: Path, *benchmarks: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return path


@pytest.fixture
def update() -> dict[str, Any]:
    return stored(
        "update[fql-64x2]",
        {"compiled": [0.02, 0.01], "eager": [0.02], "jax": [0.015], "product": [0.001]},
        targets={"jax": 0.5},
        flops=4e9,
        product_flops=1e9,
        compile_seconds=42.0,
    )


def test_the_update_table(update, tmp_path) -> None:
    memory = stored("memory[fql-64x2-compiled]", {"peak": [31e6], "needed": [25e6]}, unit="B")
    text = "\n".join(tables(read([write(tmp_path / "run.json", update, memory)])))
    # 100 updates a second; four products of 1 ms in 10 ms; eager takes 2 and JAX 1.5 times as long
    assert "| fql-64x2 | 1 | compiled | 100.0 | 0.40 | 2.00 | 1.50 |  | 31 MB | 42 s |" in text
    assert "| update[fql-64x2], 1 thread: compiled / jax | 0.67 | 0.50 | missed |" in text
    assert "| memory[fql-64x2-compiled] | 1 | peak | 31 MB | 31 MB |  |" in text


def test_a_file_without_a_result_is_no_measurement(tmp_path) -> None:
    empty = tmp_path / "empty.json"
    empty.touch()
    assert read([empty]) == []


def test_the_best_form_has_a_limit() -> None:
    acting = Measurement("acting", 1, {"a": [9e-5], "b": [5e-5]}, facts={"best_at_most": 6e-5})
    assert "| acting, 1 thread: b | 50 us | 60 us | met |" in "\n".join(tables([acting]))


def test_a_power_law_is_found_and_drawn(tmp_path) -> None:
    values = {str(x): [2e-3 * x**1.5, 1.0] for x in (1, 2, 4, 8)}
    law = power_law(values)
    assert law == pytest.approx({"exponent": 1.5, "constant": 2e-3, "off": 0.0}, abs=1e-9)
    measured = Measurement("scaling[width]", 1, values, facts={"axis": "width", **law})
    assert "2 ms · width^1.50" in "\n".join(tables([measured]))
    assert ratios_of([measured]) == {"scaling[width], 1 thread: exponent": law["exponent"]}
    plot_scaling([measured] * 4, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.3, "s", "12.3 s"),
        (4.2e-5, "s", "42 us"),
        (3.1e8, "B", "310 MB"),
        (1200.0, "s", "1.2e+03 s"),
    ],
)
def test_amounts(value, unit, text) -> None:
    assert amount(value, unit) == text


def run_guard(*arguments: object) -> int:
    return guard.main([str(each) for each in arguments])


def test_the_guard_says_what_moved_whatever_the_machine(tmp_path, capsys) -> None:
    """Ten times slower as a whole is nothing; one variant slower by a fifth is."""
    baseline = tmp_path / "baseline.json"
    before = write(
        tmp_path / "before.json",
        stored("a", {"ours": [1.0, 1.2], "other": [2.0]}),
        stored("b", {"ours": [1.0], "other": [1.0], "third": [4.0]}),
        stored("gone", {"ours": [1.0], "other": [1.0]}),
    )
    assert run_guard(before, "--baseline", baseline, "--write") == 0
    assert json.loads(baseline.read_text())["a, 1 thread: ours / other"] == 0.5
    slow_machine = write(
        tmp_path / "slow.json",
        stored("a", {"ours": [10.0], "other": [20.0]}),
        stored("b", {"ours": [10.0], "other": [10.5], "third": [42.0]}),
    )
    capsys.readouterr()
    assert run_guard(slow_machine, "--baseline", baseline) == 0
    assert capsys.readouterr().out == "3 ratios within 15%; 0 new, 1 not measured\n"

    worse = write(
        tmp_path / "worse.json",
        stored("a", {"ours": [1.2], "other": [2.0]}),
        stored("b", {"ours": [0.5], "other": [1.0], "third": [2.1]}),
    )
    assert run_guard(worse, "--baseline", baseline) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "worse      0.500 -> 0.600     1.20x  a, 1 thread: ours / other",
        "better     1.000 -> 0.500     0.50x  b, 1 thread: ours / other",
        "1 ratios within 15%; 0 new, 1 not measured",
    ]
    assert run_guard(worse, "--baseline", baseline, "--tolerance", 1.1) == 0


def test_the_guard_needs_a_run(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_guard() == 2
    assert "python -m benchmarks makes one" in capsys.readouterr().err


def test_the_guard_needs_a_baseline(tmp_path, capsys) -> None:
    run = write(tmp_path / "run.json", stored("a", {"ours": [1.0], "other": [2.0]}))
    assert run_guard(run, "--baseline", tmp_path / "none.json") == 2
    assert "--write makes this run the baseline" in capsys.readouterr().err
