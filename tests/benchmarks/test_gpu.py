"""The GPU's program, as far as a CPU can tell."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict

import flowpolicy as fp
from benchmarks import gpu
from benchmarks.gpu_forms import Problem
from benchmarks.gpu_sections import Section, run_section
from benchmarks.gpu_table import targets

pytestmark = pytest.mark.slow


@pytest.fixture
def problem():
    before = torch.get_float32_matmul_precision()
    yield Problem(
        device=torch.device("cpu"),
        hidden=(16, 16),
        rows=2_000,
        chunk_seconds=0.01,
        chunks=2,
        updates_per_replay=2,
        backend="eager",
    )
    torch.set_float32_matmul_precision(before)


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_form_is_held_against_float64_and_timed(problem, tmp_path) -> None:
    run_section("name", Section("eager", 60), problem, tmp_path / "rows")
    rows = rows_of(tmp_path / "rows")
    assert [row["precision"] for row in rows] == ["tf32", "float32", "bf16"]
    for row in rows:
        assert "failed" not in row, row
        assert len(row["seconds"]) == 2 and min(row["seconds"]) > 0
    assert rows[1]["loss_error"] < 1e-4 and rows[1]["step_error"] < 1e-2
    assert rows[2]["loss_error"] > 1e-4  # bf16 can be told from float32


@pytest.mark.compile
@pytest.mark.parametrize("seeds", [1, 3])
def test_compiled_forms_are_too(seeds, problem, tmp_path) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    section = Section("compiled", 60, seeds, precisions=("float32",))
    run_section("name", section, problem, tmp_path / "rows")
    # What is checked is what is timed: compiling twice would not fit into the section's time.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    (row,) = rows_of(tmp_path / "rows")
    assert "failed" not in row, row
    assert row["loss_error"] < 1e-4 and row["step_error"] < 1e-2


def test_a_wrong_update_shows(problem, tmp_path, monkeypatch) -> None:
    right = fp.Agent.update

    def wrong(agent: fp.Agent, batch: TensorDict) -> TensorDict:
        reference = batch["observation"].dtype == torch.float64
        return right(agent, batch if reference else batch * 0.9)

    monkeypatch.setattr(fp.Agent, "update", wrong)
    run_section("name", Section("eager", 60), problem, tmp_path / "rows")
    assert rows_of(tmp_path / "rows")[1]["loss_error"] > 1e-2


@pytest.mark.parametrize("seeds", [1, 3])
def test_replays_are_held_against_float64(seeds, problem, tmp_path) -> None:
    """From where they began, though a graph takes updates to record."""
    section = Section("graph", 60, seeds, precisions=("float32",))
    run_section("name", section, problem, tmp_path / "rows")
    (row,) = rows_of(tmp_path / "rows")
    assert "failed" not in row, row
    assert row["loss_error"] < 1e-4 and row["step_error"] < 1e-2


@pytest.mark.parametrize("broken", ["nothing", "nan"])
def test_updates_that_do_nothing_are_not_timed(broken, problem, tmp_path, monkeypatch) -> None:
    right = fp.Agent.update

    def wrong(agent: fp.Agent, batch: TensorDict) -> TensorDict:
        if batch["observation"].dtype == torch.float64:
            return right(agent, batch)
        metrics = right(agent, batch * float("nan") if broken == "nan" else batch)
        if broken == "nothing":
            agent.load_state_dict({k: 0 * v for k, v in agent.state_dict().items()})
        return metrics

    monkeypatch.setattr(fp.Agent, "update", wrong)
    section = Section("eager", 60, precisions=("float32",))
    run_section("name", section, problem, tmp_path / "rows")
    (row,) = rows_of(tmp_path / "rows")
    assert "updates were skipped, or moved nothing" in row["failed"]


def test_all_sections_fit_into_eight_minutes(tmp_path, monkeypatch) -> None:
    """Whatever each of them takes: the last ones find no time left."""
    now, given = [1000.0], []

    def run(_, *, timeout, **__) -> None:
        given.append(timeout)
        now[0] += timeout
        raise subprocess.TimeoutExpired("", timeout)

    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run}))
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: now[0]))
    gpu.measure([], list(gpu.SECTIONS), tmp_path)
    assert sum(given) == gpu.BUDGET < 480 and given[-1] == 0
    assert len(given) == len(gpu.SECTIONS)


def test_only_what_is_as_precise_is_compared() -> None:
    rates = [
        ("graph", 1, "tf32", 1900),
        ("graph", 1, "float32", 600),
        ("graph", 1, "bf16", 2500),
        ("graph", 16, "bf16", 900),
        ("graph", 16, "tf32", 700),
        ("jax", 1, "tf32", 1000),
        ("jax", 1, "float32", 400),
    ]
    rows = [
        {"form": form, "seeds": seeds, "precision": precision, "seconds": [1 / rate]}
        for form, seeds, precision, rate in rates
    ]
    assert list(targets(rows)) == [
        "- one seed: 1900 updates per second (2,000 wanted)",
        "- 16 seeds: 11200 seed-updates per second (10,000 wanted)",
        "- 16 seeds as one program: 5.9 times one seed's rate",
        "- beside JAX, tf32: 1.90 times as fast (1.5 wanted)",
        "- beside JAX, float32: 1.50 times as fast (1.5 wanted)",
    ]


def test_a_section_that_hangs_or_breaks_loses_nothing(tmp_path, monkeypatch, capsys) -> None:
    def run(command, *, timeout, **_) -> None:
        name = command[command.index("--section") + 1]
        if name == "compiled":
            raise subprocess.TimeoutExpired(command, timeout)
        if name == "jax":
            raise subprocess.CalledProcessError(-11, command)
        row = {"section": name, "form": name, "seeds": gpu.SECTIONS[name].seeds}
        row |= {"precision": "tf32"}
        row |= {"seconds": [2e-3, 1e-3], "start_seconds": 1.0, "loss_error": 1e-5, "memory": 1e6}
        with (tmp_path / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run}))
    gpu.measure([], ["eager", "compiled", "jax", "eager, 16 seeds"], tmp_path)

    text = (tmp_path / "results.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| eager | tf32 | 1000 | 1000 | 2 ms | 1.0e-05 |  | 1 s | 1 MB |" in text
    assert "| compiled |  | stopped after 85 s |" in text
    assert "| jax |  | ended with status -11 |" in text
    assert "16 seeds: 16000 seed-updates per second" in text
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 4
