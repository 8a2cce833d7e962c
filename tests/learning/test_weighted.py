"""FAWAC and FBRAC on actions around two modes, of which the second pays."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from tests.learning.bandit import train
from tests.learning.test_clones import sampled, two_modes


def bad_share(name: str, updates: int, **options: float) -> float:
    torch.manual_seed(0)
    options = {"hidden": (64, 64), "lr": 2e-3, "flow_steps": 5, **options}
    agent = train(fp.agents.build(name, 1, 1, **options), updates, seed=0, rows=two_modes())
    return (sampled(agent.policy) < 0).float().mean().item()


def test_fawac_clones_fewer_bad_actions_at_a_lower_temperature() -> None:
    warm, cold = (bad_share("fawac", 300, temperature=t) for t in (100.0, 0.2))
    assert warm == pytest.approx(0.5, abs=0.1)
    assert cold < 0.2


def test_fbrac_leaves_the_data_for_the_better_mode_under_a_weak_constraint() -> None:
    strong, weak = (bad_share("fbrac", 200, alpha=alpha) for alpha in (100.0, 0.1))
    assert strong == pytest.approx(0.5, abs=0.15)
    assert weak < 0.2
