"""Evaluating a policy: what the policy adds to the simulator, and what a second process gives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import flowpolicy as fp
from flowpolicy.envs import make_gym

ENV = "pointmaze-medium-navigate-singletask-v0"
EPISODES, STEPS = 10, 200


@pytest.fixture(scope="module")
def policy() -> fp.Actor:
    pytest.importorskip("ogbench")
    env = make_gym(ENV)
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    env.close()
    return fp.OneStepActor(*sizes, hidden=(256,) * 3)


def test_evaluation(policy, in_turn, quick) -> None:
    """CPU time of all episodes, beside that of the environment's steps alone."""
    steps = STEPS // 10 if quick else STEPS
    env = make_gym(ENV)
    action = np.zeros(policy.act_dim, dtype=np.float32)

    def simulate():
        for _ in range(EPISODES):
            env.reset()
            for _ in range(steps):
                env.step(action)

    evaluation = partial(fp.evaluate, policy, ENV, episodes=EPISODES, max_steps=steps)
    in_turn({"evaluate": evaluation, "simulator": simulate}, env_steps=EPISODES * steps)


def test_evaluation_in_processes(policy, in_turn, quick) -> None:
    """Wall time with two processes beside one."""
    import time

    steps = STEPS // 10 if quick else STEPS
    evaluation = partial(fp.evaluate, policy, ENV, episodes=EPISODES, max_steps=steps)
    in_turn(
        {"2 workers": partial(evaluation, workers=2), "no workers": evaluation},
        timer=time.perf_counter,
    )
