"""Recipes are short functions, and presets are their published options."""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest
import torch

import flowpolicy as fp
from flowpolicy.agents.presets import _tables
from flowpolicy.agents.registry import NAMED_OPTIONS
from tests.agents.recipes import batch_for
from tests.contracts.factories import ACT, OBS

PRESETS = [(name, family) for name, table in _tables().items() for family in table]


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_a_recipe_is_a_function_of_the_package(name) -> None:
    assert getattr(fp.agents, name) is fp.agents.RECIPES[name]


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_a_recipe_has_at_most_sixty_lines_of_code(name) -> None:
    source = textwrap.dedent(inspect.getsource(fp.agents.RECIPES[name]))
    (function,) = ast.parse(source).body
    docstring = function.body[0]
    lines = source.count("\n") - (docstring.end_lineno - docstring.lineno + 1)
    assert lines <= 60


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_a_recipe_documents_every_option_and_shows_its_equations(name) -> None:
    recipe = fp.agents.RECIPES[name]
    for option in inspect.signature(recipe).parameters:
        assert f"    {option}: " in inspect.getdoc(recipe)
    module = inspect.getdoc(inspect.getmodule(recipe))
    assert ".. math::" in module
    assert "arXiv" in module


@pytest.mark.parametrize(("name", "family"), PRESETS)
def test_every_preset_builds(name, family) -> None:
    options = fp.agents.preset(name, f"{family}-v0") | {"hidden": (4,)}
    agent = fp.agents.build(name, OBS, ACT, **options)
    assert isinstance(agent, fp.Agent)
    assert fp.agents.preset_batch_size(name, f"{family}-v0") in (256, 1024)


@pytest.mark.parametrize(
    ("name", "env", "expected"),
    [
        ("fql", "cube-single-play-singletask-task2-v0", {"alpha": 300, "scale": "unit"}),
        ("fql", "puzzle-4x4-play-singletask-v0", {"alpha": 1000, "scale": "unit"}),
        (
            "fql",
            "antmaze-giant-navigate-v0",
            {"alpha": 10, "scale": "unit", "discount": 0.995, "aggregation": "min"},
        ),
        (
            "fql",
            "humanoidmaze-medium-navigate-v0",
            {"alpha": 30, "scale": "unit", "discount": 0.995},
        ),
        ("fql", "antmaze-large-diverse-v2", {"alpha": 3, "scale": "unit"}),
        ("fql", "hammer-cloned-v1", {"alpha": 10000, "scale": "unit", "aggregation": "min"}),
        (
            "gfp",
            "antmaze-large-navigate-singletask-v0",
            {"alpha": 0.3, "temperature": 1e-4, "discount": 0.995}
            | {"aggregation": "min", "reference": "min"},
        ),
        (
            "gfp",
            "humanoidmaze-large-navigate-v0",
            {"alpha": 0.3, "temperature": 1e-4, "discount": 0.999}
            | {"flow_steps": 30, "reference": "min"},
        ),
        (
            "gfp",
            "cube-single-play-v0",
            {"alpha": 10, "temperature": 0.1, "bootstrap": "mean", "bootstrap_flow": "current"},
        ),
        ("gfp", "scene-play-v0", {"alpha": 10, "temperature": 1e-3}),
        ("ifql", "antsoccer-arena-navigate-v0", {"proposals": 64, "discount": 0.995}),
        (
            "iql",
            "cube-double-play-singletask-task2-v0",
            {"temperature": 3.33333, "hidden": [256, 256, 256, 256]},
        ),
        ("iql", "humanoidmaze-large-navigate-v0", {"temperature": 0.1, "discount": 0.995}),
        ("rebrac", "puzzle-4x4-play-v0", {"alpha": 0.3, "critic_alpha": 0.01}),
        (
            "rebrac",
            "antmaze-medium-play-v2",
            {"alpha": 0.001, "critic_alpha": 0.0005, "discount": 0.999, "critic_lr": 5e-05},
        ),
        ("dsrl", "cube-triple-play-v0", {"noise_scale": 1.4, "horizon": 5}),
        (
            "fedit",
            "humanoidmaze-medium-navigate-v0",
            {"edit_scale": 0.5, "discount": 0.995, "aggregation": "mean"},
        ),
        ("fbrac", "puzzle-4x4-play-v0", {"alpha": 300, "scale": "unit"}),
        ("qam", "scene-play-singletask-v0", {"temperature": 1.0, "horizon": 5}),
        (
            "qam",
            "humanoidmaze-medium-navigate-v0",
            {"temperature": 0.333333, "discount": 0.995, "aggregation": "mean"},
        ),
        (
            "qam_fql",
            "cube-triple-play-v0",
            {"temperature": 0.1, "alpha": 300, "horizon": 5},
        ),
        (
            "qam_edit",
            "antmaze-giant-navigate-v0",
            {"temperature": 0.1, "edit_scale": 0.1} | {"discount": 0.995},
        ),
        ("bam", "puzzle-3x3-play-singletask-v0", {"temperature": 0.1, "horizon": 5}),
        (
            "qsm",
            "cube-double-play-v0",
            {"temperature": 1.0, "alpha": 10, "horizon": 5, "sampler": "jump"},
        ),
    ],
)
def test_published_values(name, env, expected) -> None:
    assert fp.agents.preset(name, env) == expected


def test_presets_draw_as_the_released_code_did() -> None:
    for options in _tables()["gfp"].values():
        asks_the_flow = options.get("bootstrap", "actor") != "actor"
        assert options.get("bootstrap_flow") == ("current" if asks_the_flow else None)
    assert all(options["sampler"] == "jump" for options in _tables()["qsm"].values())


ONE_SCRIPT = (
    *("bam", "cgql", "cgql_linex", "cgql_mse", "dac", "dsrl", "fedit"),
    *("qam", "qam_edit", "qam_fql", "qsm", "rlpd"),
)
"""Methods whose published settings are those of one script."""


@pytest.mark.parametrize("family", sorted({f for name, f in PRESETS if name in ONE_SCRIPT}))
def test_methods_of_one_script_share_what_belongs_to_the_environment(family) -> None:
    tables = [_tables()[name] for name in ONE_SCRIPT]
    shared = [
        {key: table[family].get(key) for key in ("discount", "horizon", "aggregation")}
        for table in tables
        if family in table
    ]
    assert all(each == shared[0] for each in shared)


@pytest.mark.parametrize("name", ["iql", "iql_ddpg_bc", "rebrac", "sac"])
def test_these_policies_start_near_zero_as_the_authors_do(name) -> None:
    """Xavier-uniform with a gain of 0.1."""
    agent = fp.agents.build(name, OBS, ACT, hidden=(64,))
    heads = [w for w in agent.networks["actor"].parameters() if w.shape == (ACT, 64)]
    assert heads
    for head in heads:
        limit = 0.1 * (6 / (64 + ACT)) ** 0.5
        assert 0.9 * limit < head.abs().max() <= limit


def test_published_batch_sizes() -> None:
    assert fp.agents.preset_batch_size("gfp", "antmaze-giant-navigate-v0") == 1024
    assert fp.agents.preset_batch_size("gfp", "cube-single-play-v0") == 256


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(fp.ConfigError, match="unknown agent 'fgl'; did you mean 'fql'"):
        fp.agents.build("fgl", OBS, ACT)
    with pytest.raises(fp.ConfigError, match="unknown option of fql 'alfa'; did you mean 'alpha'"):
        fp.agents.build("fql", OBS, ACT, alfa=1.0)
    with pytest.raises(
        fp.ConfigError, match="unknown aggregation of fql 'mim'; did you mean 'min'"
    ):
        fp.agents.build("fql", OBS, ACT, aggregation="mim")
    with pytest.raises(
        fp.ConfigError, match="unknown agent with presets 'ifq'; did you mean 'ifql'"
    ):
        fp.agents.preset("ifq", "cube-single-play-v0")
    with pytest.raises(
        fp.ConfigError, match="preset 'cube-singel-play'; did you mean 'cube-single-play'"
    ):
        fp.agents.preset("fql", "cube-singel-play-singletask-v0")
    with pytest.raises(fp.ConfigError, match="unknown policy 'actr'; did you mean 'actor'"):
        fp.agents.gfp(OBS, ACT, hidden=(4,), reference=fp.Blend(("actr",)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rebrac", {"critic_lr": 0.0}, "rebrac: critic_lr must be a finite number above 0"),
        ("rebrac", {"critic_lr": -1e-4}, "rebrac: critic_lr must be a finite number above 0"),
        ("rebrac", {"critic_lr": float("nan")}, "rebrac: critic_lr must be a finite number above"),
        ("cgql", {"flow_steps": 1}, "cgql: flow_steps must be at least 2, got 1"),
        ("cgql_mse", {"flow_steps": 1}, "cgql_mse: flow_steps must be at least 2, got 1"),
        ("cgql_mse", {"noisy_coefficient": 0.0}, "cgql_mse: noisy_coefficient must be a finite n"),
        ("cgql_linex", {"noisy_coefficient": 0.0}, "cgql_linex: noisy_coefficient must be a fin"),
        ("fql", {"spread": 0.0}, "fql: spread must be a finite number above 0"),
        ("fql", {"alpha": "x"}, r"fql cannot be built with hidden=\(4,\), alpha='x': "),
        ("qam", {"clip_norm": "a"}, r"qam cannot be built with hidden=\(4,\), clip_norm='a': "),
        ("qsm", {"sampler": 3}, r"qsm cannot be built with hidden=\(4,\), sampler=3: 'int' obj"),
        ("fql", {"lr": -1.0}, r"fql cannot be built with .*lr=-1\.0: Invalid learning rate"),
    ],
)
def test_options_that_cannot_be_are_refused_with_the_recipe_and_the_value(
    name, options, message
) -> None:
    with pytest.raises(fp.ConfigError, match=message):
        fp.agents.build(name, OBS, ACT, hidden=(4,), **options)


@pytest.mark.parametrize(("scale", "grows"), [("unit", True), ("inverse_mean_abs", False)])
def test_a_learned_alpha_exceeds_a_thousand_only_against_values_without_a_scale(
    scale, grows
) -> None:
    torch.manual_seed(0)
    options = {"alpha": 2000.0, "spread": 1e-6, "scale": scale, "flow_steps": 2}
    agent = fp.agents.build("fql", OBS, ACT, hidden=(4,), **options)
    alpha = agent.networks["distill_coefficient"]
    before = alpha().item()
    agent.update(batch_for(agent))
    assert (alpha().item() > before) is grows


@pytest.mark.parametrize("name", ["rebrac", "td3_bc"])
def test_the_target_may_go_without_noise(name) -> None:
    agent = fp.agents.build(name, OBS, ACT, hidden=(4,), noise=0.0)
    assert not agent.policy.is_random
    assert ("next", "noise") not in agent.loss.draws()
    assert agent.update(batch_for(agent))["loss_qvalue"].isfinite()


@pytest.mark.parametrize("option", ["bootstrap", "reference"])
@pytest.mark.parametrize("blend", NAMED_OPTIONS["bootstrap"])
def test_every_named_blend_updates(option, blend) -> None:
    agent = fp.agents.build("gfp", OBS, ACT, hidden=(4,), flow_steps=2, **{option: blend})
    assert agent.update(batch_for(agent))["loss_flow"].isfinite()
