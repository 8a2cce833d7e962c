"""Records of diffusions that follow the critics' gradient."""

from __future__ import annotations

import math
from functools import partial

import torch

import flowpolicy as fp
from tests.golden.record import HIDDEN, Record, Recorded


def diffusion(name: str) -> Recorded:
    record = Record(name)
    c = record.config
    steps = c["diffusion_steps"]
    options = {"temperature": 1 / c["inv_temp"]} if name == "qsm" else {}
    assert not c["clip_sampler_before"] and not c["clip_sampler_after"]
    agent = fp.agents.build(
        name,
        7,
        3,
        hidden=HIDDEN,
        diffusion_steps=steps,
        critics=c["num_qs"],
        alpha=c["alpha"],
        discount=c["discount"],
        tau=c["tau"],
        aggregation=fp.Pessimistic(c["rho"]),
        clip_norm=c["clip_grad_norm"],
        sampler=partial(fp.JumpSampler, limit=math.inf),
        lr=c["lr"],
        **options,
    )
    modules = {"critic": "modules_critic", "predictor": "modules_actor"}
    draws = {
        # the start and every step's noise; the last step's is drawn there and not used
        "next_noise": torch.stack([record.draw(i) for i in range(steps)], dim=1),
        "time": 1 - record.draw(steps + 1).unsqueeze(-1) / steps,
        "x0": record.draw(steps + 2),
    }
    # Theirs raises errors to the power of the row's validity: an invalid row counts as one.
    invalid = 1 - record.at_the_end("valid", 0).mean().item()
    metrics = {
        "loss_qvalue": "critic/critic_loss",
        "qvalue_mean": "critic/q",
        "loss_score": record.info("actor/actor_loss") - invalid,  # the cloning term is not in it
    }
    return Recorded(agent, record, modules, draws, metrics)


READERS = {"dac": diffusion, "qsm": diffusion}
