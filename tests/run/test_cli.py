"""The command line: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import flowpolicy as fp
from flowpolicy import data
from flowpolicy.checkpoint import Checkpoints, load_policy
from flowpolicy.cli import main
from flowpolicy.cli.console import parse, say
from flowpolicy.cli.train import _HERE, _config, _defaults, _report, described, options_class
from flowpolicy.evaluate import close_environments
from flowpolicy.plot.curve import _run_names
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig
from tests.run.conftest import MAZE, TINY
from tests.run.pictures import read_picture

ROOT = Path(__file__).parents[2]

QUICK = [
    "--hidden",
    "16",
    "16",
    "--flow-steps",
    "2",
    "--offline-steps",
    "10",
    "--batch-size",
    "8",
    "--eval-episodes",
    "2",
    "--max-episode-steps",
    "5",
    "--no-tensorboard",
]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    close_environments()


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in ("train", "eval", "plot", "data", "demo"))
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"flowpolicy {fp.__version__}\n")


def test_train_writes_a_run_and_says_what_came_out(capsys):
    assert main(["train", "fql", "--env", MAZE, "--out", "r", "--alpha", "3", *QUICK]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"data: {MAZE} (embedded), 190,000 transitions\n")
    assert "policy: success 0 % (95 % 0 to 66 %) over 2 episodes after 10 updates" in printed.out
    assert (
        "no score of policy: the score of protocol fql is the mean of the last 3 evaluations, the "
        "last of them after 10 steps; the run was evaluated after 10 steps (evaluate at least 3 "
        "times: --eval-every 3 or less)\n" in printed.out
    )
    assert "run folder: r\n" in printed.out
    assert "fql seed 0: 100%" in printed.err
    config = json.loads(Path("r/config.json").read_text())
    assert config["options"] == {
        "hidden": [16, 16],
        "flow_steps": 2,
        "alpha": 3.0,
        "spread": None,
        "target_error": None,
        "tau": 0.005,
        "critics": 2,
        "aggregation": "mean",
        "scale": "inverse_mean_abs",
        "lr": 0.0003,
    }
    assert load_policy("r").obs_dim == 2


def test_seeds_without_an_evaluation_in_common_have_no_score(capsys):
    run = RunFolder.create("r", {"offline_steps": 20})
    for seed, step in enumerate((10, 20)):
        table = f"step,actor,successes,episodes,return,return_std\n{step},policy,1,2,0,0\n"
        RunFolder.create(f"r/seed_{seed}", {}).evaluations.write_text(table)
    _report(run)
    out = capsys.readouterr().out
    assert out.startswith("no score of policy: ") and "run folder: r\n" in out


def test_a_configuration_is_where_the_next_run_starts(capsys):
    assert main(["train", "flow-bc", "--env", MAZE, "--out", "r", "--lr", "0.5", *QUICK]) == 0
    again = ["train", "flow_bc", "--env", MAZE, "--config", "r/config.json", "--offline-steps", "5"]
    assert main([*again, "--out", "s"]) == 0
    first, second = (json.loads(Path(f"{x}/config.json").read_text()) for x in "rs")
    assert second == {**first, "offline_steps": 5}
    assert main(["train", "fql", "--env", MAZE, "--config", "r/config.json", "--out", "t"]) == 2
    assert (
        "error: --config r/config.json is of agent flow_bc, not of fql" in capsys.readouterr().err
    )
    assert main(["train", "fql", "--env", MAZE, "--config", "none.json", "--out", "t"]) == 2
    assert "error: --config none.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["train", "fgl", "--env", MAZE], "unknown agent 'fgl'; did you mean 'fql'"),
        (["train", "FQL", "--env", MAZE], "unknown agent 'FQL'; did you mean 'fql'"),
        (
            ["train", "fql", "--env", "InvertedPendulum-v5"],
            "data of your own are given in Python: train(config, out, dataset=...)",
        ),
        (["train", "fql", "--env", "pointmaze-medium-navigate"], f"default task's are '{MAZE}'"),
        (["train", "--resume", "auto"], "<agent> --env <id> --out <folder> --resume auto"),
        (
            ["train", "--resume", "r", "--offline-steps", "9"],
            "--offline-steps: the settings of a run are fixed; beside --resume only --processes",
        ),
        (["train"], "which agent? flowpolicy train <agent> --env <id>"),
        (["train", "fql", "--env", "cube-singel-play-singletask-v0"], "'cube-single-play-single"),
        (
            ["train", "fql", "--env", MAZE, "--offline-steps", "0"],
            "offline_steps must be at least 1 without online_steps, got 0",
        ),
        (["train", "fql", "--env", MAZE, "--lr", "nan"], "lr must be finite, got nan"),
        (["train", "fql", "--env", MAZE, "--lr", "-1"], "lr must be above 0, got -1"),
        (["train", "fql", "--env", MAZE, "--device", "gpu"], "unknown device 'gpu'"),
        (["train", "fql", "--env", MAZE, "--device", "cuda:99"], "device 'cuda:99' was asked for"),
        (["train", "fql", "--env", "cube-singel-play-v0"], "Did you mean 'cube-single-play-single"),
        (["train", "fql", "--env", MAZE, "--n-step", "1001"], "no window of 1001 steps fits into"),
        (["train", "fql", "--preset"], "--preset needs --env"),
        (
            ["train", "fql", "--env", MAZE, "--eval-actors", "policy", "flow", "policy"],
            "eval_actors must be different, got 'policy' more than once",
        ),
        (["eval", "nowhere"], "there is no run folder nowhere"),
        (["eval", "nowhere", "--video", "film.avi"], "the name must end in .mp4 or .gif"),
        (["plot", "nowhere"], "there is no run folder nowhere"),
        (["data", "make"], "unknown data command 'make'"),
        (["data"], "what to do with data? flowpolicy data generate <dataset>"),
        (["data", "generate", "pointmaze-medum-navigate"], "'pointmaze-medium-navigate'"),
    ],
)
def test_what_cannot_work_ends_in_one_line_and_2(arguments, message, capsys):
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not list(Path().iterdir())


def test_options_that_do_not_exist_end_in_2(capsys):
    assert main(["train", "fql", "--env", MAZE, "--alfa", "1"]) == 2
    assert "alfa" in capsys.readouterr().err
    assert main(["train", "fql", "--env", MAZE, "--offline-steps", "many"]) == 2
    assert main(["train", "fql"]) == 2


def test_an_existing_folder_ends_in_2(capsys):
    Path("r").mkdir()
    assert main(["train", "fql", "--env", MAZE, "--out", "r", *QUICK]) == 2
    error = capsys.readouterr().err
    assert error == (
        "error: run folder r exists already; go on with it by --resume auto, choose another with "
        "--out, or remove it\n"
    )


def test_a_finished_run_is_not_resumed(finished_run, capsys):
    before = finished_run.metrics.read_text()
    assert main(["train", "--resume", str(finished_run.path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{finished_run.path} is finished: there is nothing to do\n")
    assert "policy: success" in printed.out
    assert printed.err == ""
    assert finished_run.metrics.read_text() == before


def test_a_folder_that_is_made_up_is_told_before_the_data(capsys):
    assert main(["train", "flow-bc", "--env", MAZE, *QUICK]) == 0
    (run,) = Path("runs").iterdir()
    assert capsys.readouterr().out.startswith(f"run folder: {run}\ndata: {MAZE}")


@pytest.mark.parametrize("agent", ["fql", "gfp", "fbrac", "qam"])
def test_help_of_options_calls_values_as_the_options_do(agent, capsys):
    assert main(["train", agent, "--help"]) == 0
    text = capsys.readouterr().out
    assert not re.search(r"(min|mean|first)_value|unit_scale|data of your own", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "--config c.json must hold a JSON object, got list"),
        ("null", "--config c.json must hold a JSON object, got NoneType"),
        (
            '{"agent": "fql", "env": "x", "offline_steps": "many"}',
            "offline_steps must be a whole number",
        ),
        ('{"agent": "fql", "env": "x", "options": 3}', "options must be a table of options"),
        (
            f'{{"agent": "fql", "env": "{MAZE}", "options": {{"hidden": [8], "alpha": "x"}}}}',
            "fql cannot be built with hidden=(8,), flow_steps=10, critics=2, alpha='x', ",
        ),
    ],
)
def test_a_configuration_that_is_none_ends_in_2(text, message, capsys):
    Path("c.json").write_text(text)
    assert main(["train", "fql", "--env", MAZE, "--config", "c.json"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_windows_that_drop_most_rows_are_told_in_one_line(capsys):
    arguments = ["train", "fql", "--env", MAZE, "--out", "r", "--n-step", "600", *QUICK]
    assert main(arguments) == 0
    (warning,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("warning: ")]
    assert re.match(r"warning: n_step: \d\d% of the rows of '.*' are dropped, because", warning)


def test_a_stop_before_the_first_update_says_that_nothing_is_lost(capsys, monkeypatch):
    def stops(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("flowpolicy.train.run.evaluate", stops)
    arguments = ["train", "fql", "--env", MAZE, "--out", "r", "--eval-at-start", *QUICK]
    assert main(arguments) == 143
    assert capsys.readouterr().err.endswith("stopped: nothing had been learned yet\n")


def test_eval_of_a_folder_of_runs_says_which(finished_run, capsys):
    import shutil

    shutil.copytree(finished_run.path, "demo/fql/seed_0", symlinks=True)
    assert main(["eval", "demo"]) == 2
    assert capsys.readouterr().err == (
        "error: demo is not a run folder: it has no config.json; runs below it: demo/fql/seed_0\n"
    )
    Path("r").mkdir()
    Path("r/config.json").write_text("{}")
    assert main(["eval", "r"]) == 2
    assert "error: r/config.json names no environment; choose one" in capsys.readouterr().err


def test_data_generate_takes_the_options_of_the_expert(capsys, monkeypatch):
    asked = {}
    monkeypatch.setattr("flowpolicy.data.generate", lambda name, **o: asked.update(o) or name)
    numbers = ["--noise", "0.2", "--noise-smoothing", "1.5", "--min-norm", "0.3"]
    more = ["--random-actions", "0.1", "--episode-length", "11"]
    assert main(["data", "generate", "cube-single-play", *numbers, *more]) == 0
    expected = {"noise": 0.2, "noise_smoothing": 1.5, "min_norm": 0.3, "random_actions": 0.1}
    assert {**asked, **expected, "episode_length": 11} == asked


@pytest.mark.parametrize("agent", sorted(fp.agents.RECIPES))
def test_every_option_of_every_agent_has_help(agent, capsys):
    assert main(["train", agent, "--help"]) == 0
    assert "--env" in capsys.readouterr().out
    documented = {**described(TrainConfig), **described(fp.agents.RECIPES[agent])}
    for name in options_class(agent, {}).__dataclass_fields__:
        if name not in _HERE:
            assert documented.get(name), f"{agent}: {name} has no help"


def test_a_preset_is_a_start_that_options_change(capsys):
    env = "cube-triple-play-singletask-v0"
    arguments = ["--env", env, "--preset", "--tau", "0.5"]
    usual = inspect.signature(fp.agents.gfp).parameters
    published = fp.agents.preset("gfp", env)
    assert any(usual[name].default != value for name, value in published.items())
    defaults = _defaults("gfp", arguments)
    kind = options_class("gfp", defaults)
    options = parse(kind, arguments, program="x", description="")
    config = _config("gfp", options)
    expected = {**published, "tau": 0.5}
    values = {**config.options, "discount": config.discount}
    assert {key: values[key] for key in expected} == expected
    assert config.batch_size == fp.agents.preset_batch_size("gfp", env) == 1024
    assert main(["train", "gfp", *arguments, "--help"]) == 0
    assert "(default: 1024)" in capsys.readouterr().out


def configured(agent: str, *arguments: str) -> TrainConfig:
    kind = options_class(agent, _defaults(agent, arguments))
    return _config(agent, parse(kind, arguments, program="x", description=""))


def test_a_preset_takes_the_place_of_all_that_a_configuration_says_of_the_agent():
    env = "cube-double-play-singletask-v0"
    own = {"spread": 0.1, "tau": 0.5, "aggregation": "min"}
    run = {"discount": 0.995, "horizon": 5, "batch_size": 32, "offline_steps": 7}
    config = TrainConfig(agent="fql", env=env, options=own, **run)
    Path("c.json").write_text(json.dumps(config.to_dict()))
    preset = ["--env", env, "--preset", "--lr", "0.1"]
    both = configured("fql", "--config", "c.json", *preset)
    assert both == configured("fql", *preset).replace(offline_steps=7)
    assert both.options["lr"] == 0.1
    assert configured("fql", "--config", "c.json", "--env", env).options.items() >= own.items()


@pytest.mark.parametrize("arguments", [("--config", "c.json"), ("--clip-norm", "None")])
def test_no_limit_on_the_gradient_is_a_value_like_others(arguments):
    config = TrainConfig(agent="qam", env=MAZE, options={"clip_norm": None})
    Path("c.json").write_text(json.dumps(config.to_dict()))
    unlimited = configured("qam", "--env", MAZE, "--hidden", "8", *arguments)
    assert fp.agents.build("qam", 2, 2, **unlimited.recipe).clip_norm is None
    assert configured("qam", "--env", MAZE).options["clip_norm"] == 1.0


def test_the_horizon_of_a_preset_belongs_to_the_run(monkeypatch):
    from flowpolicy.agents import presets

    tables = {"fql": {"cube-double-play": {"alpha": 3.0, "horizon": 5, "batch_size": 64}}}
    monkeypatch.setattr(presets, "_tables", lambda: tables)
    arguments = ["--env", "cube-double-play-singletask-v0", "--preset"]
    kind = options_class("fql", _defaults("fql", arguments))
    config = _config("fql", parse(kind, arguments, program="x", description=""))
    assert (config.horizon, config.batch_size, config.options["alpha"]) == (5, 64, 3.0)
    assert "horizon" not in config.options
    assert config.recipe["horizon"] == 5
    changed = [*arguments, "--horizon", "2"]
    config = _config("fql", parse(kind, changed, program="x", description=""))
    assert config.horizon == 2


@pytest.mark.parametrize("agent", sorted(fp.agents.RECIPES))
def test_options_left_alone_give_the_agent_of_the_recipe(agent):
    arguments = ["--env", MAZE, "--hidden", "8"]
    options = parse(options_class(agent, {}), arguments, program="x", description="")
    config = _config(agent, options)
    torch.manual_seed(0)
    named = fp.agents.build(agent, 2, 2, **config.recipe)
    torch.manual_seed(0)
    plain = fp.agents.RECIPES[agent](2, 2, hidden=(8,))
    a, b = named.state_dict(), plain.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert repr(named.loss.losses) == repr(plain.loss.losses)


def test_eval_of_the_current_folder_names_the_run(finished_run, capsys, monkeypatch):
    monkeypatch.chdir(finished_run.path)
    assert main(["eval", ".", "--episodes", "1", "--max-steps", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[0] == "run"


def test_eval_tells_success_and_writes_it(finished_run, capsys):
    run = str(finished_run.path)
    assert main(["eval", run, "--episodes", "4", "--max-steps", "6", "--out", "new/e.json"]) == 0
    header, _, row, _, score = capsys.readouterr().out.splitlines()
    assert score.startswith("no score of policy: the score of protocol fql is the mean of the last")
    assert header.split() == [
        "run",
        "success",
        "95",
        "%",
        "interval",
        "return",
        "steps",
        "episodes",
    ]
    assert row.split() == ["run", "0.00", "0.00", "to", "0.49", "-6.0", "6", "4"]
    saved = json.loads(Path("new/e.json").read_text())
    assert saved["pooled"]["lengths"] == [6, 6, 6, 6]


def test_a_score_comes_with_what_is_not_as_in_the_paper(finished_run, capsys):
    run = str(finished_run.path)
    quick = ["--episodes", "1", "--max-steps", "2"]
    assert main(["eval", run, "--protocol", "fql_d4rl", "--actor", "flow", *quick]) == 0
    score, but = capsys.readouterr().out.splitlines()[-2:]
    assert score == "score of flow by protocol fql_d4rl: 0.0 %"
    assert but == "  not as in the paper: 3 episodes per evaluation, not 50; 1 seed, not 8"
    for step in ("10", "best"):
        assert main(["eval", run, "--step", step, *quick]) == 0  # one checkpoint is not the run
    assert "score" not in capsys.readouterr().out
    assert main(["eval", run, "--protocol", "fgl"]) == 2
    assert "error: unknown protocol 'fgl'; did you mean 'fql'" in capsys.readouterr().err


def test_eval_warns_of_a_damaged_checkpoint_in_one_line(finished_run, capsys):
    import shutil

    shutil.copytree(finished_run.path, "copy", symlinks=True)
    Path("copy/checkpoints/step_00000020/state.json").unlink()
    assert main(["eval", "copy", "--episodes", "1", "--max-steps", "2"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: checkpoint copy/checkpoints/step_00000020: state.json")
    assert error.endswith("trying the one before it\n")


def test_plot_draws_runs_together(finished_run, capsys):
    run = str(finished_run.path)
    assert main(["plot", run, run, "--labels", "one", "two", "--out", "p.png"]) == 0
    assert capsys.readouterr().out == "picture: p.png\n"
    picture = read_picture(Path("p.png"))
    assert all(picture.has_color(color) for color in fp_colors(4))
    own = finished_run.curve.read_bytes()
    assert main(["plot", run, run]) == 0  # and no run loses its own picture
    assert Path("curves.png").is_file() and finished_run.curve.read_bytes() == own
    assert main(["plot", run, "--labels", "one", "two"]) == 2
    assert "error: 1 runs need as many labels, got 2" in capsys.readouterr().err
    assert main(["plot", run, "--out", "p.docx"]) == 2
    assert "error: p.docx cannot be written as a picture" in capsys.readouterr().err
    assert main(["plot", run, "--out", "p.png/q.png"]) == 2
    assert "error: p.png/q.png cannot be written as a picture" in capsys.readouterr().err
    assert sorted(p.name for p in Path().iterdir()) == ["curves.png", "p.png"]


@pytest.mark.parametrize(
    ("agents", "paths", "names"),
    [
        (("fql", "gfp"), ("a/fql", "a/gfp"), ["FQL", "GFP"]),
        (("fql", "fql"), ("a/x", "a/y"), ["FQL (x)", "FQL (y)"]),
        (("fql", "fql", "iql"), ("a/x", "b/x", "c"), ["FQL (a/x)", "FQL (b/x)", "IQL"]),
        (("fql", "fql"), ("a/x", "a/x/../x"), ["FQL (x)", "FQL (x)"]),
    ],
)
def test_runs_are_named_so_that_a_legend_tells_them_apart(agents, paths, names):
    for agent, path in zip(agents, paths, strict=True):
        if not Path(path).exists():
            RunFolder.create(path, {"agent": agent})
    assert _run_names([RunFolder(Path(path)) for path in paths]) == names


def test_a_run_without_an_agent_in_the_current_folder_has_a_name(tmp_path):
    RunFolder(tmp_path).write_json("config.json", {})
    assert _run_names([RunFolder(Path())]) == ["RUN"]
    assert _run_names([RunFolder(Path())] * 2) == [f"RUN ({tmp_path.name})"] * 2


@pytest.mark.parametrize("label", ["", "_mine"])
def test_a_label_that_no_legend_shows_is_refused(finished_run, label, capsys):
    assert main(["plot", str(finished_run.path), "--labels", label, "--out", "p.png"]) == 2
    assert f"error: label {label!r} would not be shown" in capsys.readouterr().err
    assert not Path("p.png").exists()


def test_what_an_encoding_lacks_is_written_as_a_question_mark(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["--version"]) == 0
    say("97.0 ± 1.0 %")
    assert written.getvalue().endswith(b"97.0 ? 1.0 %\n")


def test_a_file_where_a_folder_is_meant_ends_in_one_line(capsys):
    Path("file").touch()
    assert main(["data", "generate", "pointmaze-medium-navigate", "--root", "file/x"]) == 2
    assert capsys.readouterr().err == "error: file/x: Not a directory\n"


def test_who_stops_listening_ends_it_quietly():
    command = f"{sys.executable} -m flowpolicy --help | head -1"
    found = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=100
    )
    assert found.stderr == ""


def fp_colors(count):
    from flowpolicy.plot import COLORS

    return COLORS[:count]


def test_plot_without_evaluations_says_so(capsys):
    RunFolder.create("r", {})
    assert main(["plot", "r"]) == 2
    assert "error: r has no evaluation yet (no rows in eval.csv)" in capsys.readouterr().err
    Path("r/eval.csv").write_text(
        "step,actor,successes,episodes,return,return_std\n1,policy,x,1,0,0\n"
    )
    assert main(["plot", "r"]) == 2
    assert "has a row that is not one" in capsys.readouterr().err


def test_data_generate_makes_what_train_reads(capsys):
    name = "pointmaze-medium-navigate"
    command = ["data", "generate", name, "--transitions", "300", "--seed", "1", "--root", "d"]
    assert main([*command, "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith("data set: d/")
    assert len(data.load(MAZE, root="d")) >= 300
    assert main(["train", "fql", "--env", MAZE, "--data-root", "d", "--out", "r", *QUICK]) == 0
    record = json.loads(Path("r/data.json").read_text())
    assert (record["origin"], record["transitions"] < 2000) == ("generated", True)
    assert f"data: {MAZE} (generated), 1,000 transitions\n" in capsys.readouterr().out


def test_a_film_that_cannot_be_written_is_refused_before_the_episodes(
    finished_run, capsys, monkeypatch
):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name == "imageio_ffmpeg" else found(name, *more),
    )
    assert main(["eval", str(finished_run.path), "--video", "film.mp4"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--video film.mp4 needs the package 'imageio_ffmpeg'" in printed.err
    assert "pip install 'flowpolicy[video]'" in printed.err


@pytest.mark.timeout(300)
def test_a_gif_of_the_policy(finished_run):
    # In a process of its own: MuJoCo chooses its renderer when it is first imported.
    code = "import sys; from flowpolicy.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["eval", str(finished_run.path), "--episodes", "1", "--max-steps", "3"]
    film = [*arguments, "--video", "film.gif", "--video-episodes", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code, *film],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if result.returncode == 2:  # no driver for drawing without a screen
        assert "error: the environment cannot be drawn here" in result.stderr
        assert "Traceback" not in result.stderr
    else:
        assert result.returncode == 0, result.stderr
        assert Path("film.gif").read_bytes()[:4] == b"GIF8"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_saves_and_ends_cleanly(tmp_path, number, code):
    command = [sys.executable, "-m", "flowpolicy", "train", "fql", "--env", MAZE, "--out", "r"]
    options = [*QUICK, "--offline-steps", "1000000", "--log-every", "10"]
    with subprocess.Popen(
        [*command, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            metrics = tmp_path / "r" / "metrics.csv"
            deadline = time.monotonic() + 120
            while not metrics.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            _, error = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert error.endswith(
        "stopped: the state up to here is saved in r; go on with flowpolicy train --resume r\n"
    )
    (step,) = Checkpoints(tmp_path / "r" / "checkpoints").steps()
    assert step >= 10
    assert load_policy(tmp_path / "r").act_dim == 2
    assert not list((tmp_path / "r").rglob(".tmp-*"))


def test_a_diverged_run_ends_in_1(capsys, monkeypatch):
    from flowpolicy.agents import Agent
    from tests.run.test_train import poisoned

    monkeypatch.setattr(Agent, "update", poisoned(1))
    assert main(["train", "fql", "--env", MAZE, "--out", "r", *QUICK]) == 1
    error = capsys.readouterr().err
    assert "error: the latest 10 updates up to update 10 were skipped" in error


def test_eval_ends_episodes_where_the_run_did(finished_run, tmp_path):
    lengths = {}
    for steps in (None, 4):
        out = tmp_path / f"{steps}.json"
        more = [] if steps is None else ["--max-steps", str(steps)]
        command = ["eval", str(finished_run.path), "--episodes", "1", "--out", str(out), *more]
        assert main(command) == 0
        lengths[steps] = json.loads(out.read_text())["pooled"]["lengths"]
    assert lengths == {None: [TINY.max_episode_steps], 4: [4]}
