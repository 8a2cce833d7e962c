"""A grid file is checked before anything runs, and names its cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowpolicy.benchmark.grid import Grid
from flowpolicy.benchmark.ray_backend import _data_root
from flowpolicy.benchmark.search import _cells
from flowpolicy.benchmark.sweep import numbered_cells, run_one, run_sweep
from flowpolicy.cli import main
from flowpolicy.errors import ConfigError, DataError
from tests.run.conftest import MAZE, TINY

GRID = {"agent": '["fql"]', "env": f'["{MAZE}"]', "seed": "[0, 1]", "alpha": "[1.0, 10.0]"}
RUN = {"offline_steps": "10", "hidden": "[8]", "flow_steps": "2"}
SEARCH = "[search]\ntrials = 2\nalpha = { low = 0.1, high = 10.0, log = true }\n"


def write(more: str = "", *, run: dict[str, str] = RUN, **grid: str | None) -> Path:
    lines = [f"{k} = {v}" for k, v in {**GRID, **grid}.items() if v is not None]
    settings = [f"{k} = {v}" for k, v in run.items()]
    text = "\n".join(["[grid]", *lines, "[run]", *settings, more])
    path = Path("my.toml")
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"more": "[gird]"}, "unknown key of grid my.toml 'gird'; did you mean 'grid'"),
        ({"alhpa": "[1.0]"}, "unknown setting of .*, grid 'alhpa'; did you mean 'alpha'"),
        ({"run": {"ofline_steps": "1"}}, "unknown setting of .*, run 'ofline_steps'; did you mean"),
        ({"agent": '["fgl"]'}, "unknown agent 'fgl'; did you mean 'fql'"),
        ({"run": {"preset": '"false"'}}, "preset must be true or false, got 'false'"),
        ({"more": "[agents]\nfql = 3"}, "\\[agents.fql\\] must be a table, got 3"),
        ({"agent": "[3]"}, "agent must be a name, got \\[3\\]"),
        ({"env": None}, "env must stand in \\[grid\\] or in \\[run\\]"),
        ({"alpha": "[]"}, "alpha must be a list of values, got \\[\\]"),
        ({"alpha": "3.0"}, "alpha must be a list of values, got 3.0"),
        ({"alpha": "[1.0, 1]"}, "two runs are .*/fql,alpha=1/seed_0"),
        ({"alpha": "[-1.0]"}, "fql,alpha=-1: .*coefficient must be"),
        ({"alpha": "['x']"}, "fql,alpha=x: fql cannot be built with .*alpha='x'"),
        ({"alpha": "[nan]"}, "alpha nan: alpha must be finite, got nan"),
        ({"batch_size": "[16, 0]"}, "batch_size 0: batch_size must be at least 1, got 0"),
        ({"scale": '["unti"]'}, "unknown scale of fql 'unti'; did you mean 'unit'"),
        ({"offline_steps": "[5]"}, "offline_steps stands in \\[grid\\] and in \\[run\\]"),
        ({"agent": '["fql", "flow_bc"]'}, "unknown option of flow_bc 'alpha'"),
        ({"more": "[agents.gfp]"}, "unknown agent of grid my.toml 'gfp'"),
        ({"more": "[agents.fql]\nalpha = 1.0"}, "alpha stands in \\[agents.fql\\] and in an axis"),
        ({"more": "[agents.fql]\nseed = 1"}, "unknown setting of .*, agents.fql 'seed'"),
        ({"more": SEARCH}, "alpha stands in \\[grid\\] and in \\[search\\]"),
        ({"alpha": None, "more": "[search]\ntrials = 0"}, "trials must be a whole number of at"),
        ({"alpha": None, "more": "[search]\nseed = 1"}, "\\[search\\] names no setting"),
        (
            {"alpha": None, "more": SEARCH.replace("high", "hihg")},
            "unknown key of .*, search.alpha 'hihg'; did you mean 'high'",
        ),
        (
            {"alpha": None, "more": SEARCH.replace("0.1", "0.0")},
            "search.alpha: low must be above 0 where log is true, got 0.0",
        ),
        (
            {"alpha": None, "more": "[search]\nscale = { choices = ['unit', 'unti', 'unit'] }"},
            "unknown scale of fql 'unti'; did you mean 'unit'",
        ),
    ],
)
def test_a_wrong_grid_is_refused_with_its_key(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Grid.read(write(**arguments))


def test_cells_are_named_by_their_settings_and_keep_their_names():
    small = Grid.read(write()).cells(Path("s"))
    assert [str(path) for path in small] == [
        f"s/{MAZE}/fql,alpha={alpha}/seed_{seed}" for seed in (0, 1) for alpha in (1, 10)
    ]
    config = small[Path(f"s/{MAZE}/fql,alpha=10/seed_1")]
    assert (config.options["alpha"], config.seed, config.threads) == (10.0, 1, 1)
    grown = Grid.read(write(alpha="[10.0, 0.3, 1.0]", seed="[1, 0, 7]")).cells(Path("s"))
    assert small.items() <= grown.items()


def test_names_hold_lists_texts_and_long_numbers():
    grid = Grid.read(
        write(
            run={},
            seed=None,
            hidden="[[8, 8], [16]]",
            alpha="[0.12345678]",
            aggregation='["min"]',
        )
    )
    names = [path.parent.name for path in grid.cells(Path())]
    assert names == [f"fql,aggregation=min,alpha=0.12345678,hidden={h}" for h in ("8x8", "16")]


def test_published_options_are_a_start_and_agents_have_their_own():
    agents = '["fql", "gfp"]'
    env = '["cube-single-play-singletask-v0"]'
    run = {"preset": "true", "offline_steps": "7"}
    own = "[agents.fql]\nscale = 'inverse_mean_abs'"
    grid = Grid.read(write(own, run=run, agent=agents, env=env, alpha=None, seed=None))
    fql, gfp = grid.cells(Path()).values()
    assert (fql.options["alpha"], fql.options["scale"]) == (300.0, "inverse_mean_abs")
    assert gfp.options["alpha"] == 10.0
    assert fql.offline_steps == gfp.offline_steps == 7


def test_patterns_name_data_sets():
    grid = Grid.read(write(env='["cube-*-play-singletask-task?-v0", "scene-play-singletask-v0"]'))
    found = grid.axes["env"]
    assert "cube-triple-play-singletask-task5-v0" in found and len(found) == 26
    with pytest.raises(ConfigError, match="no data set is named as 'cubes-\\*'"):
        Grid.read(write(env='["cubes-*"]'))


def test_options_that_would_do_nothing_are_refused(capsys):
    path = write()
    for more, message in (
        (["--address", "auto"], "--address auto is of a Ray cluster: add --backend ray"),
        (["--backend", "ray", "--cell", "0"], "--cell runs one cell in this process"),
    ):
        assert main(["sweep", str(path), *more]) == 2
        assert message in capsys.readouterr().err


def test_cells_are_numbered_and_told(capsys):
    path = write()
    assert main(["sweep", str(path), "--out", "s", "--list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2].split() == ["2", "new", f"{MAZE}/fql,alpha=1/seed_1"]
    assert len(said) == 4 and not Path("s").exists()
    grid = Grid.read(path)
    with pytest.raises(ConfigError, match="cell must be between 0 and 3, got 4"):
        run_one(grid, "s", 4)
    with pytest.raises(ConfigError, match="has a \\[search\\]: its cells follow from each other"):
        numbered_cells(Grid.read(write(SEARCH, alpha=None)), "s")


def test_what_cannot_run_is_refused_before_anything_is_written():
    grid = Grid.read(write())
    with pytest.raises(DataError, match="pointmaze-medium-navigate-v0.npz is not in empty"):
        run_sweep(grid, "s", data_root="empty")
    with pytest.raises(ConfigError, match="'Pendulum-v1' is not the name of a single-task"):
        run_sweep(Grid.read(write(env='["Pendulum-v1"]')), "s")
    assert not Path("s").exists()
    Path("s").mkdir()
    Path("s/notes.txt").touch()
    with pytest.raises(ConfigError, match="s exists and has no sweep.json; choose another"):
        run_sweep(grid, "s")


def test_a_trial_whose_values_cannot_be_together_has_no_cells(tmp_path):
    fixed = {"offline_steps": 0, "online_steps": 100_000, "online_protocol": "rlpd"}
    grid = Grid("g", "", {"agent": ["rlpd"], "env": [MAZE], "seed": [0]}, fixed)
    said: list[str] = []
    assert _cells(grid, tmp_path, None, {"batch_size": 169}, said.append) == {}
    (told,) = said
    assert told.startswith("a trial fails: grid g, ") and "got 169" in told
    assert len(_cells(grid, tmp_path, None, {"batch_size": 64}, said.append)) == 1


def test_other_machines_are_told_where_the_data_lie(tmp_path, monkeypatch):
    (tmp_path / "pointmaze-medium-navigate-v0.npz").touch()
    monkeypatch.chdir(tmp_path.parent)
    assert _data_root(TINY.replace(data_root=tmp_path.name)) == str(tmp_path)
    monkeypatch.setenv("FLOWPOLICY_DATA", tmp_path.name)
    assert _data_root(TINY.replace(data_root=None)) == str(tmp_path)
    assert _data_root(TINY.replace(data_root="nowhere")) == "nowhere"
