"""Suites are checked, run, resumed and reported."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowpolicy.benchmark import Report, Suite, report
from flowpolicy.benchmark.sensitivity import run_sensitivity
from flowpolicy.benchmark.summary import summarize_all
from flowpolicy.cli import main
from flowpolicy.cli.benchmark import show
from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from tests.run.conftest import MAZE
from tests.run.pictures import read_picture

ROOT = Path(__file__).parents[2]
RUN = "embedded=true, batch_size=16, eval_every=0, eval_episodes=2, max_episode_steps=5"


def write_suite(methods: str, *, run: str = "", shared: str = "hidden=[8], flow_steps=2") -> str:
    text = f"[environments.{MAZE}]\nrun={{offline_steps=10, log_every=5, {RUN}{run}}}\n"
    Path("my.toml").write_text(f"{text}shared={{{shared}}}\nmethods={{{methods}}}\n")
    return "my.toml"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(*more: str) -> list[str]:
    return ["benchmark", "--suite", "my.toml", "--out", "b", "--seeds", "0", *more]


@pytest.mark.parametrize(
    ("methods", "extra", "message"),
    [
        ("fql={alhpa=1.0}", {}, "fql: unknown option of fql 'alhpa'; did you mean 'alpha'"),
        ("fgl={}", {}, "unknown agent 'fgl'; did you mean 'fql'"),
        ("fql={scale='unti'}", {}, "unknown scale of fql 'unti'; did you mean 'unit'"),
        ("fql={tau='x'}", {}, "fql: fql cannot be built with .*tau='x'"),
        ("fql={}", {"run": ", ofline_steps=1"}, "unknown key of .* 'ofline_steps'; did you mean"),
        ("fql={}", {"shared": "hiden=[8]"}, "unknown option of any method .* 'hiden'; did you"),
    ],
)
def test_a_wrong_suite_is_refused_with_its_key(methods, extra, message):
    with pytest.raises(ConfigError, match=message):
        Suite.read(write_suite(methods, **extra))


def test_a_suite_of_lists_is_refused():
    table = f"[environments.{MAZE}]\n"
    for text in (
        f'{table}methods = ["fql"]',
        f"{table}run = 3\nmethods = {{ fql = {{}} }}",
        f"{table}methods = {{ fql = 3 }}",
        f"{table}methods = {{ fql = {{ run = 3 }} }}",
        f"[environments]\n{MAZE} = 3",
    ):
        Path("my.toml").write_text(f'description = "d"\n{text}\n')
        with pytest.raises(ConfigError, match="must be a table, got"):
            Suite.read("my.toml")


def test_an_environment_that_the_suite_lacks_is_refused(capsys):
    write_suite("fql={}")
    assert main(command("--envs", "maze")) == 2
    assert "unknown environment of suite my.toml 'maze'" in capsys.readouterr().err
    assert not Path("b").exists()


def test_a_method_that_the_suite_lacks_is_refused(capsys):
    write_suite("fql={}")
    assert main(command("--methods", "fqll")) == 2
    assert "unknown method of suite my.toml 'fqll'; did you mean 'fql'" in capsys.readouterr().err
    assert not Path("b").exists()


def test_the_table_says_that_its_last_scores_are_those_of_each_seed(capsys):
    run = RunFolder.create("b/maze/fql/seed_0", {"seed": 0, "eval_actors": ["policy"]})
    run.evaluations.write_text(
        "step,actor,successes,episodes,return,return_std\n10,policy,0,2,-1,0\n"
    )
    run.metrics.write_text("step,rate\n10,10\n")
    show(Report(Path("b"), tuple(summarize_all({("maze", "fql"): [run]})), {}))
    _, header, _, row, *_ = capsys.readouterr().out.splitlines()
    assert re.search(r"each seed +train s", header)
    assert re.search(r" 0 +1 +100\.00$", row)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_killed_suite_goes_on_and_reports():
    write_suite("fql={alpha=3.0}, flow_bc={run={offline_steps=1000000}}")
    process = subprocess.Popen(
        [sys.executable, "-m", "flowpolicy", *command("--jobs", "1")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    runs = Path("b") / MAZE
    try:
        deadline = time.monotonic() + 120
        while not (runs / "flow_bc" / "seed_0" / "metrics.csv").is_file():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = (runs / "fql/seed_0/finished.json").stat().st_mtime_ns
    assert not (runs / "flow_bc/seed_0/finished.json").exists()
    write_suite("fql={alpha=3.0}, flow_bc={}")
    assert main(command()) == 0
    assert (runs / "fql/seed_0/finished.json").stat().st_mtime_ns == kept
    with Path("b/table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"fql", "flow_bc"}
    assert all(row["updates"] == "10" and row["episodes"] == "2" for row in rows)
    assert "| fql |" in Path("b/table.md").read_text()
    assert read_picture(Path("b/plot.png")).has_color("#0072B2")
    write_suite("fql={alpha=5.0}")
    assert main(command()) == 2  # a finished run of other settings is not mixed in


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_failed_run_is_named_and_repeated(capsys):
    write_suite("flow_bc={run={eval_actors=['flw']}}")
    assert main(command()) == 1
    said = capsys.readouterr().out
    assert "unknown actor of flow_bc 'flw'" in said
    assert f"--envs {MAZE} --methods flow_bc --seeds 0" in said
    assert len(report("b").failures) == 1
    write_suite("flow_bc={}")
    assert main(command()) == 0
    assert report("b").failures == {}


def test_values_of_a_sensitivity_are_told_apart(tmp_path, monkeypatch):
    write_suite("fql={}")
    asked = {}
    monkeypatch.setattr(
        "flowpolicy.benchmark.sensitivity.run_cells", lambda cells, **_: asked.update(cells)
    )

    def study(name: str, **options) -> list:
        asked.clear()
        run_sensitivity(
            "fql", MAZE, tmp_path / name, suite="my.toml", seeds=(0,), variants=["suite"], **options
        )
        return [config.options for config in asked.values()]

    near = study("a", option="alpha", values=[0.1234567, 0.1234568])
    assert [options["alpha"] for options in near] == [0.1234567, 0.1234568]
    steps = study("b", option="flow_steps", values=[2.0, 4.0])
    assert [options["flow_steps"] for options in steps] == [2, 4]
    with pytest.raises(ConfigError, match="variant 'alpha=3' sets alpha, whose values are comp"):
        run_sensitivity("fql", MAZE, tmp_path / "c", suite="my.toml", variants=["alpha=3"])
    with pytest.raises(ConfigError, match="fql cannot be built with .*tau='x'"):
        run_sensitivity("fql", MAZE, tmp_path / "c", suite="my.toml", variants=["tau=x"])


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_sensitivity_draws_a_curve_for_each_variant():
    write_suite("fql={}")
    options = ["--env", MAZE, "--suite", "my.toml", "--seeds", "0", "--out", "s"]
    values = ["--values", "1", "10", "--variants", "scale=unit"]
    assert main(["sensitivity", "fql", *options, *values]) == 0
    assert "scale=unit, alpha=10" in Path("s/table.md").read_text()
    assert read_picture(Path("s/plot.png")).has_color("#0072B2")
    assert main(["sensitivity", "fql", *options, "--option", "alhpa"]) == 2
    assert main(["sensitivity", "fql", *options, "--report-only"]) == 0
