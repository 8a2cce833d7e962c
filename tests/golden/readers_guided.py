"""Records of cloned flows that critics guide."""

from __future__ import annotations

import flowpolicy as fp
from tests.golden.record import CRITIC, HIDDEN, Record, Recorded


def cgql(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    noisy = {} if name == "cgql" else {"noisy_coefficient": c["noisy_coef"]}
    agent = fp.agents.build(
        name,
        7,
        3,
        hidden=HIDDEN,
        flow_steps=c["flow_steps"],
        critics=c["num_qs"],
        guidance=c["guidance_coef"],
        temperature=1 / c["inv_temp"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=fp.Pessimistic(c["rho"]),
        lr=c["lr"],
        **noisy,
    )
    modules = {"critic": "modules_critic", "field": "modules_actor"}
    draws = {"next_noise": record.draw(0).squeeze(1), "x0": 1, "time": 2}
    metrics = {**CRITIC, "loss_flow": "actor/flow_loss"}
    if noisy:
        draws |= {"noisy_time": 1, "noisy_x0": 2, "x0": 3, "time": 4}
        loss = record.info("critic/noisy_critic_loss")
        metrics["loss_noisy_value"] = c["noisy_coef"] * loss  # they report it without coefficient
    return Recorded(agent, record, modules, draws, metrics)


READERS = {"cgql": cgql, "cgql_linex": cgql, "cgql_mse": cgql}
