"""What `generate` accepts, and what the published data sets use."""

from __future__ import annotations

from typing import Any

import pytest

from flowpolicy.data.generate.settings import GENERATED_DATASETS, dataset_name, resolve
from flowpolicy.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pointmaze-medium-navigate", {"noise": 0.5, "episode_length": 1001}),
        ("pointmaze-giant-navigate", {"noise": 0.5, "episode_length": 2001}),
        ("cube-single-play", {"noise": 0.1, "noise_smoothing": 0.5, "random_actions": 0.0}),
        ("cube-single-noisy", {"noise": 0.1, "min_norm": 0.4, "random_actions": 0.1}),
        ("scene-noisy", {"noise": 0.1, "min_norm": 0.4, "random_actions": 0.1}),
        ("puzzle-4x4-noisy", {"noise": 0.1, "min_norm": 0.4, "random_actions": 0.2}),
    ],
)
def test_defaults_are_those_of_the_published_data(name: str, expected: dict[str, Any]) -> None:
    settings = resolve(name, seed=0).to_dict()
    assert {key: settings[key] for key in expected} == expected


@pytest.mark.parametrize("dataset", GENERATED_DATASETS)
def test_every_data_set_has_a_registered_environment(dataset: str) -> None:
    import gymnasium
    import ogbench  # noqa: F401

    assert resolve(dataset, seed=0).env_id in gymnasium.registry


@pytest.mark.parametrize("suffix", ["", "-v0", "-singletask-v0", "-singletask-task3-v0"])
def test_all_names_of_a_data_set(suffix: str) -> None:
    assert dataset_name("scene-play" + suffix) == "scene-play"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cube-singel-play", {}, "unknown data set to generate 'cube-singel-play'; did you mean"),
        ("antmaze-medium-navigate", {}, "did you mean 'pointmaze-medium-navigate'"),
        ("pointmaze-medium-navigate", {"min_norm": 0.4}, "min_norm has no effect on 'pointmaze"),
        ("cube-single-play", {"min_norm": 0.4}, "noise, noise_smoothing, random_actions"),
        ("cube-single-noisy", {"noise_smoothing": 1.0}, "noise_smoothing has no effect"),
        ("cube-single-play", {"noise": -0.1}, "noise must be finite and at least 0, got -0.1"),
        ("cube-single-play", {"noise": float("nan")}, "noise must be finite and at least 0, got n"),
        ("cube-single-play", {"random_actions": 1.5}, "must be at most 1, got 1.5"),
        ("cube-single-play", {"episode_length": 1}, "episode_length must be at least 2 rows"),
        ("cube-single-play", {"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(name, **{"seed": 0, **options})
    assert message in str(caught.value)
