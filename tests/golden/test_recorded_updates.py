"""The recipes are the published methods, number by number.

Losses to 1e-5 relative, a gradient tensor's largest error to 1e-5 of its largest entry, parameters
after one Adam step and the target update to 1e-6 absolute; evaluated in float64 against records in
float32.
"""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from tests.golden.record import Record, layers_of, load_agent

HIDDEN = (16, 16)


def fql(name: str) -> tuple[fp.Agent, Record, dict[str, str], dict[str, int], dict[str, str]]:
    record = Record(name)
    c = record.config
    agent = fp.agents.build(
        "fql",
        7,
        3,
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        alpha=c["alpha"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=c["q_agg"],
        scale="inverse_mean_abs" if c["normalize_q_loss"] else "unit",
        lr=c["lr"],
    )
    modules = {
        "critic": "modules_critic",
        "field": "modules_actor_bc_flow",
        "actor": "modules_actor_onestep_flow",
    }
    draws = {"next_noise": 0, "x0": 1, "time": 2, "noise": 3}
    metrics = {
        "loss_qvalue": "critic/critic_loss",
        "qvalue_mean": "critic/q_mean",
        "qvalue_min": "critic/q_min",
        "qvalue_max": "critic/q_max",
        "loss_flow": "actor/bc_flow_loss",
        "distill_error": "actor/distill_loss",
        "loss_dpg": "actor/q_loss",
        "dpg_value": "actor/q",
    }
    return agent, record, modules, draws, metrics


def gfp(name: str) -> tuple[fp.Agent, Record, dict[str, str], dict[str, int], dict[str, str]]:
    record = Record(name)
    c = record.config
    agent = fp.agents.build(
        "gfp",
        7,
        3,
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        alpha=c["alpha"],
        temperature=c["eta_temperature"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=c["q_agg"],
        bootstrap=c["target_agg"],
        reference=c["guidance_agg"],
        lr=c["lr"],
        **({} if c["target_use_next"] else {"bootstrap_flow": "current"}),
    )
    modules = {"critic": "modules_critic", "field": "modules_vabc", "actor": "modules_actor"}
    # With a mean target both policies draw the next noise from the same key: equal arrays, recorded
    # twice.
    twice = int(c["target_agg"] == "mean")
    if twice:
        assert torch.equal(record.draw(0), record.draw(1))
    draws = {"next_noise": 0, "noise": 1 + twice, "x0": 2 + twice, "time": 3 + twice}
    metrics = {
        "loss_qvalue": "critic/critic_loss",
        "qvalue_mean": "critic/q_mean",
        "qvalue_min": "critic/q_min",
        "qvalue_max": "critic/q_max",
        "qvalue_next": "critic/tgt_q_mean",
        "loss_flow": "actor/VaBC_loss",
        "flow_weight": "actor/guidance",
        "distill_error": "actor/distill_loss",
        "loss_dpg": "actor/q_loss",
    }
    return agent, record, modules, draws, metrics


def ifql(name: str) -> tuple[fp.Agent, Record, dict[str, str], dict[str, int], dict[str, str]]:
    record = Record(name)
    c = record.config
    agent = fp.agents.ifql(
        7,
        3,
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        expectile=c["expectile"],
        proposals=c["num_samples"],
        discount=c["discount"],
        tau=c["tau"],
        lr=c["lr"],
    )
    modules = {"critic": "modules_critic", "field": "modules_actor_flow", "value": "modules_value"}
    metrics = {
        "loss_qvalue": "critic/critic_loss",
        "qvalue_target": "critic/q_mean",  # that is what their code reports under this name
        "loss_value": "value/value_loss",
        "value_mean": "value/v_mean",
        "value_min": "value/v_min",
        "value_max": "value/v_max",
        "loss_flow": "actor/actor_loss",
    }
    return agent, record, modules, {"x0": 0, "time": 1}, metrics


RECORDS = {
    "fql": fql,
    "fql_min_norm": fql,
    "gfp": gfp,
    "gfp_mean_target": gfp,
    "gfp_mean_target_next": gfp,
    "gfp_min_guidance": gfp,
    "ifql": ifql,
}


@pytest.mark.parametrize("name", RECORDS)
def test_losses_gradients_and_parameters_after_the_step(name: str) -> None:
    agent, record, modules, draws, metrics = RECORDS[name](name)
    load_agent(agent, record, modules)
    batch = record.batch(**{key: record.draw(number) for key, number in draws.items()})

    result = agent.update(batch)

    for ours, theirs in metrics.items():
        assert result[ours].item() == pytest.approx(record.info(theirs), rel=1e-5), ours
    for role, module in modules.items():
        recorded = record.network("grads", module)
        for parameter, gradient in zip(layers_of(agent.networks[role]), recorded, strict=True):
            assert parameter.grad is not None
            scale = gradient.abs().max()
            assert (parameter.grad - gradient).abs().max() <= 1e-5 * scale, (role, parameter.shape)
        after = record.network("after", module)
        for parameter, expected in zip(layers_of(agent.networks[role]), after, strict=True):
            assert (parameter - expected).abs().max() <= 1e-6, (role, parameter.shape)
    after = record.network("after", "modules_target_critic")
    for parameter, expected in zip(layers_of(agent.targets["critic"]), after, strict=True):
        assert (parameter - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("name", RECORDS)
def test_a_wrong_draw_is_noticed(name: str) -> None:
    """The comparison above can fail: with another noise the flow's loss misses the record."""
    agent, record, modules, draws, metrics = RECORDS[name](name)
    load_agent(agent, record, modules)
    values = {key: record.draw(number) for key, number in draws.items()}
    values["x0"] = values["x0"].flip(0)
    result = agent.update(record.batch(**values))
    assert result["loss_flow"].item() != pytest.approx(record.info(metrics["loss_flow"]), rel=1e-3)
