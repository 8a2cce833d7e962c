"""Names of data sets are taken apart, and wrong ones answered with the right ones."""

from __future__ import annotations

import re

import pytest

from flowpolicy.data.names import DatasetName, available
from flowpolicy.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "stem", "task", "env_id"),
    [
        (
            "cube-single-play-singletask-task2-v0",
            "cube-single-play-v0",
            2,
            "cube-single-singletask-task2-v0",
        ),
        ("scene-noisy-singletask-v0", "scene-noisy-v0", None, "scene-singletask-v0"),
        ("puzzle-4x4-play-singletask-v0", "puzzle-4x4-play-v0", None, "puzzle-4x4-singletask-v0"),
    ],
)
def test_takes_names_apart(name, stem, task, env_id):
    parsed = DatasetName.parse(name)
    assert (parsed.full, parsed.stem, parsed.task) == (name, stem, task)
    assert parsed.env_id(parsed.task) == env_id
    assert parsed.file("train") == f"{stem}.npz"
    assert parsed.file("val") == f"{stem}-val.npz"


def test_every_available_name_is_understood():
    names = available()
    assert len(names) == len(set(names)) > 200
    for name in names:
        parsed = DatasetName.parse(name)
        assert parsed.full == name
        parsed.require_known()


def test_a_goal_conditioned_name_is_answered_with_its_single_task():
    with pytest.raises(ConfigError) as caught:
        DatasetName.parse("cube-single-play-v0")
    assert str(caught.value) == (
        "'cube-single-play-v0' is not the name of a single-task data set. Goal-conditioned data "
        "have no rewards; the default task's are 'cube-single-play-singletask-v0' (or -task1 to "
        "-task5 before the version)."
    )


def test_a_name_without_a_version_is_answered_as_one_with_it():
    with pytest.raises(ConfigError, match="default task's are 'cube-single-play-singletask-v0'"):
        DatasetName.parse("cube-single-play")


def test_an_environment_without_data_is_answered_with_where_data_are_given():
    with pytest.raises(ConfigError, match=r"in Python: train\(config, out, dataset=\.\.\.\)"):
        DatasetName.parse("InvertedPendulum-v5")


def test_advice_invents_no_name():
    with pytest.raises(ConfigError) as caught:
        DatasetName.parse("cube-singel-play-v0")
    message = str(caught.value)
    assert "Did you mean 'cube-single-play-singletask-v0'" in message
    assert set(re.findall(r"'([a-z0-9-]+-singletask-v0)'", message)) <= set(available())


@pytest.mark.parametrize(
    "name", ["", "HalfCheetah", "halfcheetah-medium-v2", "cube-single-play-singletask-task9-v0"]
)
def test_a_name_of_another_form_is_answered_with_the_form(name):
    with pytest.raises(
        ConfigError, match="Names look like 'cube.*-task2-v0', where tasks are 1 to 5"
    ):
        DatasetName.parse(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cube-singel-play-singletask-v0", "cube-single-play-singletask-v0"),
        ("cube-singel-play-singletask-task2-v0", "cube-single-play-singletask-task2-v0"),
        ("pointmaze-medium-play-singletask-v0", "pointmaze-medium-navigate-singletask-v0"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(ConfigError, match=rf"unknown data set '{name}'; did you mean .*'{near}'"):
        DatasetName.parse(name).require_known()


def test_images_need_an_encoder():
    name = "visual-cube-single-play-singletask-task1-v0"
    with pytest.raises(ConfigError, match=f"{name}' has images.*Use '{name[7:]}'"):
        DatasetName.parse(name).require_known()
