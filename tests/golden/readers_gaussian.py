"""Records of Gaussian and deterministic policies, of edits, and of policies over noise."""

from __future__ import annotations

from typing import Any

import torch

import flowpolicy as fp
from tests.golden.record import CRITIC, HIDDEN, Record, Recorded

ENTROPY = {"entropy_coefficient": "modules_alpha"}


def options(config: dict[str, Any], **own: Any) -> dict[str, Any]:
    """What the recipes share, and their own."""
    shared = {"discount": config["discount"], "tau": config["tau"], "lr": config["lr"]}
    if "num_qs" in config:
        shared |= {"critics": config["num_qs"], "aggregation": fp.Pessimistic(config["rho"])}
    return {"hidden": HIDDEN, **shared, **own}


def iql(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    ours = {"iql": {"temperature": 1 / c["alpha"]}, "iql_ddpgbc": {"alpha": c["alpha"]}}[name]
    recipe = {"iql": fp.agents.iql, "iql_ddpgbc": fp.agents.iql_ddpg_bc}[name]
    agent = recipe(7, 3, **options(c, expectile=c["expectile"], **ours))
    modules = {"critic": "modules_critic", "value": "modules_value", "actor": "modules_actor"}
    metrics = {
        "loss_qvalue": "critic/critic_loss",
        "qvalue_target": "critic/q_mean",  # that is what their code reports under this name
        "loss_value": "value/value_loss",
        "value_mean": "value/v_mean",
        "value_min": "value/v_min",
        "value_max": "value/v_max",
        "log_likelihood_mean": "actor/bc_log_prob",
    }
    if name == "iql":
        metrics |= {"loss_log_likelihood": "actor/actor_loss"}
    else:
        metrics |= {"loss_log_likelihood": "actor/bc_loss", "loss_dpg": "actor/q_loss"}
        metrics |= {"dpg_value": "actor/q_mean", "dpg_scale": 1 / record.info("actor/q_abs_mean")}
    return Recorded(agent, record, modules, {}, metrics)


def rebrac(name: str) -> Recorded:
    """An update in which the actor and the targets move too: the second."""
    record = Record(name)
    c = record.config
    agent = fp.agents.rebrac(
        7,
        3,
        alpha=c["alpha_actor"],
        critic_alpha=c["alpha_critic"],
        noise=c["actor_noise"],
        noise_clip=c["actor_noise_clip"],
        delay=c["actor_freq"],
        **options(c),
    )
    agent.step = c["actor_freq"] - 1
    modules = {"critic": "modules_critic", "actor": "modules_actor"}
    metrics = {**CRITIC, "loss_dpg": "actor/actor_loss", "loss_clone": "actor/bc_loss"}
    metrics |= {"loss_dpg + loss_clone": "actor/total_loss"}
    metrics |= {"clone_error": record.info("actor/mse") / 3}  # theirs is the sum over dimensions
    return Recorded(agent, record, modules, {"next_noise": 0}, metrics)


def fedit(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    agent = fp.agents.fedit(
        7, 3, flow_steps=c["flow_steps"], edit_scale=c["edit_scale"], **options(c)
    )
    modules = {
        "critic": "modules_critic",
        "field": "modules_actor_bc_flow",
        "actor": "modules_edit_actor",
        **ENTROPY,
    }
    draws = {
        "next_noise": stacked(record, 0, 1),
        "x0": 2,
        "time": 3,
        "noise": stacked(record, 4, 5),
    }
    metrics = {
        **CRITIC,
        "loss_flow": "actor/bc_flow_loss",
        "loss_dpg": "actor/edit_q_loss",
        "loss_entropy": "actor/edit_entropy_loss",
        "entropy_estimate": "actor/edit_entropy",
        "loss_entropy_dual": "actor/edit_alpha_loss",
    }
    return Recorded(agent, record, modules, draws, metrics)


def stacked(record: Record, base: int, edit: int) -> torch.Tensor:
    """The noise of a base ``[8, 1, 3]`` and of its edit, which they draw transposed."""
    return torch.stack([record.draw(base).reshape(8, 3), transposed(record, edit)], dim=1)


def transposed(record: Record, number: int) -> torch.Tensor:
    """Noise of a squashed Gaussian, drawn ``[3, 8]`` or ``[3, 8, 1]``."""
    return record.draw(number).reshape(3, 8).T


def dsrl(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    agent = fp.agents.dsrl(
        7, 3, flow_steps=c["flow_steps"], noise_scale=c["noise_scale"], **options(c)
    )
    modules = {
        "critic": "modules_critic",
        "latent_critic": "modules_z_critic",
        "field": "modules_actor_bc_flow",
        "actor": "modules_actor",
        **ENTROPY,
    }
    draws = {
        "next_noise": transposed(record, 0),
        "latent_noise": 1,
        "x0": 2,
        "time": 3,
        "noise": transposed(record, 4),
    }
    metrics = {
        **CRITIC,
        "loss_latent_value": "critic/distill_loss",
        "loss_flow": "actor/flow_loss",
        "loss_dpg + loss_entropy": "actor/actor_loss",
        "dpg_value": "actor/q",
        "entropy_estimate": "actor/entropy",
        "entropy_coefficient": "actor/alpha",
        "loss_entropy_dual": "actor/alpha_loss",
    }
    return Recorded(agent, record, modules, draws, metrics)


def rlpd(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    agent = fp.agents.rlpd(7, 3, alpha=c["bc_alpha"], **options(c))
    modules = {"critic": "modules_critic", "actor": "modules_actor", **ENTROPY}
    draws = {"next_noise": transposed(record, 0), "noise": transposed(record, 1)}
    metrics = {
        **CRITIC,
        "loss_dpg + loss_entropy": "actor/actor_loss",
        "dpg_value": "actor/q",
        "entropy_estimate": "actor/entropy",
        "entropy_coefficient": "actor/alpha",
        "loss_entropy_dual": "actor/alpha_loss",
    }
    if c["bc_alpha"]:
        metrics["loss_log_likelihood"] = "actor/bc_loss"
    return Recorded(agent, record, modules, draws, metrics)


READERS = {
    "iql": iql,
    "iql_ddpgbc": iql,
    "rebrac": rebrac,
    "fedit": fedit,
    "dsrl": dsrl,
    "rlpd": rlpd,
    "rlpd_bc": rlpd,
}
