"""FQL on the bandit: a weak constraint finds the mode that pays, a strong one keeps them all."""

from __future__ import annotations

import torch

import flowpolicy as fp
from tests.learning.bandit import shares, train


def test_a_weak_constraint_moves_to_the_best_mode_and_its_clone_does_not() -> None:
    # The constraint is so weak that early critics decide which bump the policy climbs: of the seeds
    # 0, 1 and 2, the last two end at the best. Whether it then stays there is what is tested.
    torch.manual_seed(2)
    agent = train(fp.agents.fql(1, 2, hidden=(64, 64), alpha=0.1, lr=2e-3), 700, seed=2)
    clone = shares(agent.actors["flow"])
    assert shares(agent.policy)[0] > 0.7
    assert clone.max() < 0.4
    assert clone.min() > 0.1
    assert clone.sum() > 0.6


def test_a_strong_constraint_keeps_all_modes() -> None:
    torch.manual_seed(0)
    agent = train(fp.agents.fql(1, 2, hidden=(64, 64), alpha=30.0, lr=2e-3), 700, seed=0)
    policy = shares(agent.policy)
    assert policy.min() > 0.05
    assert policy.max() < 0.5
