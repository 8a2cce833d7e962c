"""Records of flow Q-learning, the guided flow policy and implicit flow Q-learning."""

from __future__ import annotations

import torch

import flowpolicy as fp
from tests.golden.record import HIDDEN, Record, Recorded


def fql(name: str) -> Recorded:
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
    return Recorded(agent, record, modules, draws, metrics)


def gfp(name: str) -> Recorded:
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
    return Recorded(agent, record, modules, draws, metrics)


def ifql(name: str) -> Recorded:
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
    return Recorded(agent, record, modules, {"x0": 0, "time": 1}, metrics)


READERS = {
    "fql": fql,
    "fql_min_norm": fql,
    "gfp": gfp,
    "gfp_mean_target": gfp,
    "gfp_mean_target_next": gfp,
    "gfp_min_guidance": gfp,
    "ifql": ifql,
}
