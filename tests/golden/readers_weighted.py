"""Records of the policies that weigh the data or climb the critics through the flow."""

from __future__ import annotations

import flowpolicy as fp
from tests.golden.record import CRITIC, HIDDEN, Record, Recorded


def fawac(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    agent = fp.agents.fawac(
        7,
        3,
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        critics=c["num_qs"],
        temperature=1 / c["inv_temp"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=fp.Pessimistic(c["rho"]),
        lr=c["lr"],
    )
    modules = {"critic": "modules_critic", "field": "modules_actor", "value": "modules_value"}
    draws = {"next_noise": 0, "x0": 1, "time": 2}
    metrics = {**CRITIC, "loss_value": "critic/value_loss", "loss_flow": "actor/actor_loss"}
    return Recorded(agent, record, modules, draws, metrics)


def fbrac(name: str) -> Recorded:
    """Their loss is the flow's minus the value over alpha, ours that times alpha."""
    record = Record(name)
    c = record.config
    agent = fp.agents.fbrac(
        7,
        3,
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        critics=c["num_qs"],
        alpha=c["alpha"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=fp.Pessimistic(c["rho"]),
        scale=fp.unit_scale,
        lr=c["lr"],
    )
    modules = {"critic": "modules_critic", "field": "modules_actor_flow"}
    draws = {"next_noise": record.draw(0).squeeze(1), "x0": 1, "time": 2, "noise": 3}
    metrics = {
        **CRITIC,
        "loss_flow": "actor/bc_flow_loss",
        "loss_flow + loss_dpg": "actor/actor_loss",
    }
    return Recorded(agent, record, modules, draws, metrics)


READERS = {"fawac": fawac, "fbrac": fbrac}
