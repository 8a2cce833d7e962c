"""OGBench's data as OGBench gives them, from where they are, or not at all."""

from __future__ import annotations

import importlib.metadata
import io
import json
import shutil
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import ogbench
import pytest
import torch

from flowpolicy.data import Dataset, load, locate
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.data.names import DatasetName
from flowpolicy.data.npz import sha256
from flowpolicy.data.relabel import task_of
from flowpolicy.errors import ConfigError, DataError
from tests.data.conftest import EPISODES, MAZE, MAZE_FILE, STEPS


@pytest.fixture(autouse=True)
def _no_roots(monkeypatch, tmp_path):
    """The folders of this machine play no part."""
    monkeypatch.delenv(locate.ROOT_VARIABLE, raising=False)
    monkeypatch.setattr(locate, "OGBENCH_ROOT", tmp_path / "home")
    monkeypatch.setattr(locate, "EMBEDDED", tmp_path / "package")


def manipulation_arrays(name: str) -> dict[str, np.ndarray]:
    """States of a real manipulation environment, some of them moved onto the task's goal."""
    parsed = DatasetName.parse(name)
    env = task_of(parsed).env
    env.reset(seed=0)
    inner, rng = env.unwrapped, np.random.default_rng(0)
    rows, length = 60, 20
    qpos = np.tile(inner._data.qpos, (rows, 1)).astype(np.float32)
    qpos += rng.normal(scale=0.01, size=qpos.shape).astype(np.float32)
    arrays = {
        "observations": rng.normal(size=(rows, env.observation_space.shape[0])).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(rows, env.action_space.shape[0])).astype(np.float32),
        "terminals": np.arange(rows) % length == length - 1,
        "qpos": qpos,
    }
    if "cube" in name:
        near = rng.random(rows) < 0.4
        qpos[near, 14:17] = inner._data.mocap_pos[0] + rng.normal(scale=0.02, size=(near.sum(), 3))
    else:
        buttons = rng.integers(0, 2, size=(rows, inner._num_buttons))
        buttons[rng.random(rows) < 0.4] = inner._target_button_states
        arrays["button_states"] = buttons
    return arrays


def assert_equals_ogbench(dataset: Dataset, theirs: dict[str, np.ndarray]) -> None:
    ours = {key: values.numpy() for key, values in dataset.entries().items()}
    assert np.array_equal(ours["observation"], theirs["observations"])
    assert np.array_equal(ours["next", "observation"], theirs["next_observations"])
    assert np.array_equal(
        ours["action"], np.clip(theirs["actions"], np.float32(-1 + 1e-5), np.float32(1 - 1e-5))
    )
    assert np.array_equal(ours["next", "reward"][:, 0], theirs["rewards"])
    assert np.array_equal(ours["next", "terminated"][:, 0], theirs["masks"] == 0)
    end = theirs["terminals"] == 1
    assert np.array_equal(ours["next", "truncated"][:, 0], end & (theirs["masks"] == 1))
    assert np.array_equal(np.append(np.diff(ours["episode"]) == 1, True), end)


@pytest.mark.parametrize(
    "name",
    [
        MAZE,
        "pointmaze-medium-navigate-singletask-task4-v0",
        "cube-single-play-singletask-task2-v0",
        "cube-single-noisy-singletask-v0",
        "puzzle-3x3-play-singletask-v0",
    ],
)
def test_equals_ogbench(name, tmp_path, maze_arrays):
    arrays = maze_arrays if "maze" in name else manipulation_arrays(name)
    parsed = DatasetName.parse(name)
    for split in ("train", "val"):
        np.savez_compressed(tmp_path / parsed.file(split), **arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of gymnasium and dm_control
        _, train, val = ogbench.make_env_and_datasets(name, dataset_dir=str(tmp_path))
    if "task4" not in name:  # whose goal is elsewhere in the maze
        assert 0 < (train["masks"] == 0).mean() < 1, "the test needs successes and failures"
    assert_equals_ogbench(load(name, tmp_path), train)
    assert_equals_ogbench(load(name, tmp_path, split="val"), val)


class TestLoad:
    def test_a_success_does_not_end_a_trajectory(self, maze_file):
        entries = load(MAZE, maze_file()).entries()
        terminated, episode = entries["next", "terminated"][:, 0], entries["episode"]
        assert bool((terminated[:-1] & (episode[1:] == episode[:-1])).any())
        assert episode.tolist() == [e for e in range(EPISODES) for _ in range(STEPS)]

    def test_records_where_it_came_from(self, maze_file):
        root = maze_file()
        info = load(MAZE, root).info
        assert info.name == MAZE
        assert info.env_id == "pointmaze-medium-singletask-task1-v0"
        assert (info.task, info.split, info.success_timing) == (1, "train", "pre")
        assert info.ogbench_version == importlib.metadata.version("ogbench")
        assert info.files == {MAZE_FILE: sha256(root / MAZE_FILE)}
        assert info.origin == "file"
        assert (info.transitions, info.episodes) == (EPISODES * STEPS, EPISODES)
        assert (info.obs_dim, info.act_dim, info.n_step, info.discount) == (2, 2, 1, None)

    def test_knows_generated_files_by_the_record_beside_them(self, maze_file):
        root = maze_file()
        note = root / MAZE_FILE.replace(".npz", ".json")
        record = {"dataset": "pointmaze-medium-navigate", "sha256": {}}
        for text, origin in (
            ("{", "file"),
            ("[]", "file"),
            ('{"dataset": "of somebody else"}', "file"),
            (json.dumps(record), "file"),
            (json.dumps({**record, "sha256": {"x": sha256(root / MAZE_FILE)}}), "generated"),
        ):
            note.write_text(text)
            assert load(MAZE, root).info.origin == origin, text

    def test_the_default_task_is_the_task_spelled_out(self, maze_file):
        root = maze_file()
        plain, spelled = load(MAZE, root), load(MAZE.replace("-v0", "-task1-v0"), root)
        assert plain.fingerprint() == spelled.fingerprint()
        assert plain.info.env_id == spelled.info.env_id
        assert load(MAZE.replace("-v0", "-task2-v0"), root).fingerprint() != plain.fingerprint()

    def test_loading_twice_gives_the_same(self, maze_file):
        root = maze_file()
        assert load(MAZE, root).fingerprint() == load(MAZE, root).fingerprint()

    def test_actions_stay_strictly_inside(self, maze_file):
        action = load(MAZE, maze_file()).entries()["action"]
        assert action.abs().max() == torch.tensor(1 - 1e-5)

    def test_the_other_timing_speaks_of_the_next_state(self, maze_file):
        root = maze_file()
        pre, post = load(MAZE, root).entries(), load(MAZE, root, success_timing="post").entries()
        inside = (pre["episode"][1:] == pre["episode"][:-1]).nonzero()[:, 0]
        for key in (("next", "reward"), ("next", "terminated")):
            assert torch.equal(post[key][inside], pre[key][inside + 1])
            assert not torch.equal(post[key], pre[key])
        assert torch.equal(post["observation"], pre["observation"])

    def test_mixing_the_timings_is_refused(self, maze_file):
        root = maze_file()
        pre, post = load(MAZE, root), load(MAZE, root, success_timing="post")
        with pytest.raises(
            DataError, match=r"rewards of timing 'pre' but .* of 'post'; a value fun"
        ):
            Dataset.concat([pre, post])
        assert len(Dataset.concat([pre, pre])) == 2 * len(pre)

    def test_the_callers_random_stream_is_left_alone(self, maze_file):
        root = maze_file()
        task_of.cache_clear()
        np.random.seed(1)  # noqa: NPY002  (the stream in question)
        expected = np.random.uniform()  # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        load(MAZE, root)
        assert np.random.uniform() == expected  # noqa: NPY002

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"split": "test"}, "load: split must be 'train' or 'val', got 'test'"),
            ({"success_timing": "now"}, "load: success_timing must be 'pre' or 'post', got 'now'"),
        ],
    )
    def test_refuses_unknown_options(self, options, message):
        with pytest.raises(ConfigError, match=message):
            load(MAZE, **options)


class TestBadFiles:
    def refusal(self, root: Path) -> str:
        with pytest.raises(DataError) as caught:
            load(MAZE, root)
        message = str(caught.value)
        assert message.startswith(f"{root / MAZE_FILE}: ")
        assert "pickle" not in message
        return message.removeprefix(f"{root / MAZE_FILE}: ")

    def changed(self, array: np.ndarray, where, value) -> np.ndarray:
        array = array.copy()
        array[where] = value
        return array

    @pytest.mark.parametrize("key", ["observations", "actions", "qpos"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, maze_file, maze_arrays, key, value):
        root = maze_file(**{key: self.changed(maze_arrays[key], (7, 1), value)})
        assert self.refusal(root) == (
            f"'{key}': 1 of 124 rows not finite, first at row 7 (index [7, 1], value {value}). "
            "Remove these rows or repair the file."
        )

    def test_actions_outside(self, maze_file, maze_arrays):
        root = maze_file(actions=self.changed(maze_arrays["actions"], (9, 0), -1e6))
        assert self.refusal(root).startswith(
            "'actions': 1 of 124 rows outside [-1, 1] (largest magnitude 1e+06, in row 9). "
            "Rescale them, for instance by Dataset.from_tensordict(td, action_low="
        )

    @pytest.mark.parametrize("key", ["actions", "terminals", "qpos"])
    def test_lengths(self, maze_file, maze_arrays, key):
        root = maze_file(**{key: maze_arrays[key][:-1]})
        assert self.refusal(root) == (
            f"{key} has 123 rows but observations has 124; every array needs one row per step."
        )

    @pytest.mark.parametrize("key", ["observations", "actions", "terminals", "qpos"])
    def test_missing(self, maze_file, key):
        message = self.refusal(maze_file(**{key: None}))
        assert message.startswith(f"no {key!r}; the file holds ")
        assert "A data set of OGBench has observations, actions, terminals, qpos." in message

    def test_empty(self, maze_file, maze_arrays):
        root = maze_file(**{key: values[:0] for key, values in maze_arrays.items()})
        assert self.refusal(root) == "the data set is empty (0 rows)."

    def test_nothing_but_last_states(self, maze_file, maze_arrays):
        root = maze_file(terminals=np.ones_like(maze_arrays["terminals"]))
        assert self.refusal(root) == "the data set is empty (0 rows)."

    def test_flags_of_another_kind(self, maze_file, maze_arrays):
        root = maze_file(terminals=maze_arrays["terminals"].astype(np.uint8) * 255)
        assert self.refusal(root) == (
            f"terminals must be 0 or 1, got 255 (first at row {STEPS}). Write 1 in the last row of "
            "every trajectory and 0 elsewhere."
        )

    def test_flags_that_are_not_numbers(self, maze_file, maze_arrays):
        root = maze_file(terminals=maze_arrays["terminals"].astype(np.float32) * np.nan)
        assert self.refusal(root).startswith("terminals must be 0 or 1, got nan (first at row 0)")

    def test_flags_as_numbers_are_fine(self, maze_file, maze_arrays):
        expected = load(MAZE, maze_file()).fingerprint()
        root = maze_file(terminals=maze_arrays["terminals"].astype(np.float32))
        assert load(MAZE, root).fingerprint() == expected

    def test_flags_of_another_shape(self, maze_file, maze_arrays):
        root = maze_file(terminals=maze_arrays["terminals"][:, None])
        assert self.refusal(root) == (
            "terminals must be one number 0 or 1 per row, got shape [124, 1] and dtype bool."
        )

    def test_a_last_trajectory_without_end(self, maze_file, maze_arrays):
        root = maze_file(terminals=self.changed(maze_arrays["terminals"], -1, False))
        assert self.refusal(root) == (
            "terminals: the last row (row 123) does not end a trajectory; "
            "the file is incomplete, or its last trajectory lacks its end. If it is whole, write 1 "
            "in its last row."
        )

    def test_a_matrix_that_is_none(self, maze_file, maze_arrays):
        root = maze_file(actions=maze_arrays["actions"][:, 0])
        assert self.refusal(root) == (
            "actions must be a matrix [rows, width], got shape [124]. Write one row per step."
        )

    @pytest.mark.parametrize("dtype", ["int32", "complex64", "uint8"])
    def test_numbers_of_another_kind(self, maze_file, maze_arrays, dtype):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of the cast
            root = maze_file(actions=maze_arrays["actions"].astype(dtype))
        assert self.refusal(root) == (
            f"actions has dtype {dtype}; floating-point numbers are needed. Write the array in "
            "float32."
        )

    @pytest.mark.parametrize("dtype", ["<f8", ">f4"])
    def test_other_precisions_and_byte_orders_are_fine(self, maze_file, maze_arrays, dtype):
        dataset = load(MAZE, maze_file(actions=maze_arrays["actions"].astype(dtype)))
        assert dataset.entries()["action"].dtype == torch.float32

    def test_objects(self, maze_file, maze_arrays):
        root = maze_file(actions=maze_arrays["actions"].astype(object))
        assert self.refusal(root).startswith("actions has dtype object; an array of numbers is nee")

    def test_another_environment(self, maze_file, maze_arrays):
        observations = np.zeros((124, 28), dtype=np.float32)
        assert self.refusal(maze_file(observations=observations)) == (
            "observations have 28 columns but pointmaze-medium-singletask-task1-v0 has 2; this is "
            "the data set of another environment. Check the file's name and origin."
        )
        actions = np.zeros((124, 5), dtype=np.float32)
        assert self.refusal(maze_file(actions=actions)).startswith("actions have 5 columns but ")

    def test_the_walls_of_another_maze(self, maze_file, maze_arrays, tmp_path):
        large = MAZE.replace("medium", "large")
        shutil.copy(EMBEDDED / MAZE_FILE, tmp_path / MAZE_FILE.replace("medium", "large"))
        with pytest.raises(
            DataError,
            match=r"pointmaze-large-navigate-v0\.npz: qpos: 72021 of 190190 rows inside the walls "
            r"of pointmaze-large-singletask-task1-v0, first at row 22 \(x 2.16, y 12.6\); this is "
            "the data set of another environment",
        ):
            load(large, tmp_path)
        qpos = maze_arrays["qpos"].copy()
        qpos[[50, 60]] = 1e30
        assert self.refusal(maze_file(qpos=qpos)).startswith(
            "qpos: 2 of 124 rows inside the walls of pointmaze-medium-singletask-task1-v0, first "
            "at row 50 (x 1e+30, y 1e+30)"
        )
        qpos[60] = maze_arrays["qpos"][60]  # a single one is a body leaning over a corner
        assert len(load(MAZE, maze_file(qpos=qpos))) == EPISODES * STEPS

    def test_a_record_of_another_data_set(self, maze_file):
        root = maze_file()
        note = root / MAZE_FILE.replace(".npz", ".json")
        digests = {"pointmaze-large-navigate-v0.npz": sha256(root / MAZE_FILE)}
        note.write_text(json.dumps({"dataset": "pointmaze-large-navigate", "sha256": digests}))
        assert self.refusal(root) == (
            f"{note.name} beside it says that it was generated as 'pointmaze-large-navigate'; this "
            "is the data set of another environment. Give both files their own names back."
        )

    def test_states_without_what_the_rewards_need(self, tmp_path):
        name = "puzzle-3x3-play-singletask-v0"
        arrays = manipulation_arrays(name)
        del arrays["button_states"]
        np.savez(tmp_path / "puzzle-3x3-play-v0.npz", **arrays)
        with pytest.raises(
            DataError,
            match=r"no 'button_states', which the rewards of puzzle-3x3-singletask-task4-v0 are "
            r"computed from\. Check",
        ):
            load(name, tmp_path)

    @pytest.mark.parametrize(
        ("name", "key", "change", "told"),
        [
            ("cube-single-play", "qpos", lambda x: x[:, :15], "qpos have 15 columns but .* has 21"),
            ("cube-single-play", "qpos", lambda x: x[:, :14], "qpos have 14 columns"),
            ("puzzle-3x3-play", "button_states", lambda x: x[:, :1], "have 1 columns but .* has 9"),
            (
                "puzzle-3x3-play",
                "button_states",
                lambda x: x[:, 0],
                "button_states have no columns",
            ),
        ],
    )
    def test_states_of_another_width(self, name, key, change, told, tmp_path):
        """Rewards would be computed from the wrong columns, or broadcast."""
        arrays = manipulation_arrays(f"{name}-singletask-v0")
        arrays[key] = change(arrays[key])
        np.savez(tmp_path / f"{name}-v0.npz", **arrays)
        with pytest.raises(DataError, match=told):
            load(f"{name}-singletask-v0", tmp_path)


class TestWhere:
    def test_the_variable_comes_first(self, maze_file, monkeypatch, tmp_path):
        folder = maze_file()
        monkeypatch.setenv(locate.ROOT_VARIABLE, str(folder))
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / MAZE_FILE).touch()
        assert locate.find_file(DatasetName.parse(MAZE), "train", None) == folder / MAZE_FILE

    @pytest.mark.parametrize("place", ["package", "home"])
    def test_then_ogbenchs_own_then_the_package(self, place, tmp_path):
        for folder in ("package", "home") if place == "home" else ("package",):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / MAZE_FILE).touch()
        found = locate.find_file(DatasetName.parse(MAZE), "train", None)
        assert found == tmp_path / place / MAZE_FILE

    def test_a_given_folder_is_the_only_one(self, tmp_path):
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / MAZE_FILE).touch()
        with pytest.raises(DataError) as caught:
            locate.find_file(DatasetName.parse(MAZE), "train", tmp_path / "mine", download=False)
        assert str(caught.value) == (
            f"{MAZE_FILE} is not in {tmp_path / 'mine'}. Pass root= or set FLOWPOLICY_DATA to the "
            "folder that has it, let it be downloaded, or make one: "
            "flowpolicy data generate pointmaze-medium-navigate-v0 --root FOLDER."
        )


class TestDownload:
    @pytest.fixture
    def server(self, maze_file, monkeypatch) -> list[str]:
        """Answers OGBench's requests with the walks; lists what was asked for."""
        content = (maze_file() / MAZE_FILE).read_bytes()
        asked: list[str] = []

        class Response(io.BytesIO):
            length = len(content)

        def answer(url: str) -> Response:
            asked.append(url)
            return Response(content)

        monkeypatch.setattr(urllib.request, "urlopen", answer)
        return asked

    def test_fetches_both_splits_with_a_progress_bar(self, server, tmp_path, capsys):
        root = tmp_path / "new"
        dataset = load(MAZE, root)
        assert len(dataset) == EPISODES * STEPS
        assert [url.rsplit("/", 1)[1] for url in server] == [
            MAZE_FILE,
            MAZE_FILE.replace(".npz", "-val.npz"),
        ]
        out, err = capsys.readouterr()
        assert out == ""
        assert "100%" in err
        load(MAZE, root, split="val")
        assert len(server) == 2

    def test_without_a_root_into_the_variables_folder(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv(locate.ROOT_VARIABLE, str(tmp_path / "variable"))
        load(MAZE)
        assert (tmp_path / "variable" / MAZE_FILE).is_file()
        assert locate.default_root() == tmp_path / "variable"

    def test_without_anything_into_ogbenchs_own_folder(self, server, tmp_path):
        load(MAZE)
        assert (tmp_path / "home" / MAZE_FILE).is_file()

    def test_a_failure_says_what_to_do(self, tmp_path, monkeypatch):
        def refuse(url: str) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr(urllib.request, "urlopen", refuse)
        with pytest.raises(DataError) as caught:
            load(MAZE, tmp_path / "new")
        assert str(caught.value) == (
            "pointmaze-medium-navigate-v0 could not be downloaded into "
            f"{tmp_path / 'new'} (<urlopen error no route to host>). Put {MAZE_FILE} there by "
            "hand, or make a data set of your own: "
            "flowpolicy data generate pointmaze-medium-navigate-v0 --root FOLDER."
        )

    def test_a_download_that_leaves_nothing_is_noticed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ogbench, "download_datasets", lambda names, folder: None)
        with pytest.raises(DataError, match=rf"OGBench's download left no {MAZE_FILE} in .*/new\."):
            load(MAZE, tmp_path / "new")
