"""Records of adjoint matching."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import flowpolicy as fp
from tests.golden.readers_gaussian import stacked
from tests.golden.record import CRITIC, HIDDEN, Record, Recorded

MODULES = {
    "critic": "modules_critic",
    "field": "modules_actor_fast",
    "behavior_field": "modules_actor_slow",
}
FLOW = {"loss_flow": "actor/flow_loss"}
ADJOINT = {
    "loss_adjoint": "actor/adj_loss",
    "adjoint_mean": "actor/adj_mean",
    "adjoint_max": "actor/adj_max",
}


def build(name: str, record: Record, **options: Any) -> fp.Agent:
    c = record.config
    return fp.agents.build(
        name,
        7,
        3,
        horizon=c["horizon_length"],
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        critics=c["num_qs"],
        temperature=1 / c["inv_temp"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=fp.Pessimistic(c["rho"]),
        lr=c["lr"],
        **options,
    )


def draws(record: Record, edits: int = 0) -> dict[str, int | Tensor]:
    """The next action's noise, flow matching's, and those of the paths, whose last is not used."""
    path = [record.draw(3 + edits + i) for i in range(record.config["flow_steps"])]
    return {
        "next_noise": record.draw(0).squeeze(1),
        "x0": 1 + edits,
        "time": 2 + edits,
        "path_noise": torch.stack(path, dim=1),
    }


def qam(name: str) -> Recorded:
    record = Record(name)
    metrics = {**CRITIC, **FLOW, **ADJOINT}
    return Recorded(build("qam", record), record, MODULES, draws(record), metrics)


def qam_fql(name: str) -> Recorded:
    record = Record(name)
    agent = build("qam_fql", record, alpha=record.config["fql_alpha"])
    modules = {**MODULES, "actor": "modules_one_step_actor"}
    metrics = {
        **CRITIC,
        **FLOW,
        **ADJOINT,
        "distill_error": "actor/fql_distill_loss",
        "loss_dpg": "actor/fql_q_loss",
    }
    noise = {"noise": 3 + record.config["flow_steps"] + 1}
    return Recorded(agent, record, modules, {**draws(record), **noise}, metrics)


def qam_edit(name: str) -> Recorded:
    record = Record(name)
    agent = build("qam_edit", record, edit_scale=record.config["edit_scale"])
    modules = {**MODULES, "actor": "modules_edit_actor"}
    modules["entropy_coefficient"] = "modules_edit_alpha"
    last = 4 + record.config["flow_steps"]
    noise = {"next_noise": stacked(record, 0, 1), "noise": stacked(record, last + 1, last + 2)}
    metrics = {
        **CRITIC,
        **FLOW,
        **ADJOINT,
        "loss_dpg": "actor/edit_q_loss",
        "loss_entropy": "actor/edit_entropy_loss",
        "entropy_estimate": "actor/edit_entropy",
        "entropy_coefficient": "actor/edit_alpha",
        "loss_entropy_dual": "actor/edit_alpha_loss",
    }
    return Recorded(agent, record, modules, {**draws(record, edits=1), **noise}, metrics)


def bam(name: str) -> Recorded:
    record = Record(name)
    metrics = {
        **CRITIC,
        **FLOW,
        "loss_basic_adjoint": "actor/bam_loss",
        "basic_adjoint_cost": "actor/bc_loss",
    }
    return Recorded(build("bam", record), record, MODULES, draws(record), metrics)


READERS = {"bam": bam, "qam": qam, "qam_chunk5": qam, "qam_edit": qam_edit, "qam_fql": qam_fql}
