"""Rollouts and TorchRL's Evaluator with the policies as they are."""

from __future__ import annotations

import pytest
import torch
from torchrl.collectors import Evaluator
from torchrl.envs import RewardSum, SerialEnv, check_env_specs

import flowpolicy as fp
from tests.torchrl_integration.environment import ACT_DIM, EPISODE, reacher, small_recipe

RECIPES = pytest.mark.parametrize("recipe", sorted(fp.agents.RECIPES))


def make_policy(recipe: str) -> fp.Actor:
    return small_recipe(recipe).policy


@RECIPES
def test_a_rollout(recipe):
    data = reacher().rollout(1000, make_policy(recipe))
    assert data.shape == (EPISODE,)  # the environment ended it
    assert data["next", "truncated"][-1] and not data["next", "terminated"].any()


@RECIPES
def test_a_rollout_of_several_environments(recipe):
    data = SerialEnv(3, reacher).rollout(5, make_policy(recipe))
    assert data["action"].shape == (3, 5, ACT_DIM)
    assert (data["action"][0] != data["action"][1]).any()  # each with noise of its own


def test_a_seed_repeats_a_rollout():
    env, policy, actions = reacher(), make_policy("fql"), []
    for _ in range(2):
        env.set_seed(1)
        torch.manual_seed(1)  # TorchRL seeds its environments only
        actions.append(env.rollout(10, policy)["action"])
    assert torch.equal(*actions)


@RECIPES
def test_the_evaluator(recipe):
    env = reacher().append_transform(RewardSum())
    evaluator = Evaluator(
        env,
        make_policy(recipe),
        num_trajectories=2,
        frames_per_batch=EPISODE,
        collector_kwargs={"auto_register_policy_transforms": False, "traj_format": "cat"},
    )
    try:
        metrics = evaluator.evaluate()
    finally:
        evaluator.shutdown()
    assert metrics["eval/episode_length"] == EPISODE
    assert metrics["eval/reward"] < 0
    assert metrics["eval/reward_std"] > 0


def test_environments_keep_their_specs():
    check_env_specs(reacher())
    check_env_specs(fp.envs.make("Reacher-v5"))
