"""Small agents and runs on the embedded maze."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from flowpolicy import agents
from flowpolicy.agents import Agent
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig, train

MAZE = "pointmaze-medium-navigate-singletask-v0"

TINY = TrainConfig(
    agent="fql",
    env=MAZE,
    options={"hidden": (16, 16), "flow_steps": 2},
    offline_steps=20,
    batch_size=16,
    n_step=2,
    eval_every=10,
    eval_episodes=3,
    eval_actors=("policy", "flow"),
    max_episode_steps=15,
    log_every=5,
    checkpoint_every=10,
    tensorboard=False,
)


def tiny_agent(seed: int = 0, name: str = "fql", **options: Any) -> Agent:
    torch.manual_seed(seed)
    small = {"hidden": (16, 16), "flow_steps": 2, **({"alpha": 0.1} if name == "fql" else {})}
    known = agents.recipe_options(name)
    options = {key: value for key, value in small.items() if key in known} | options
    agent = agents.build(name, 3, 2, **options)
    agent.noise.seed(seed)
    return agent


def random_batch(generator: torch.Generator, size: int = 8) -> TensorDict:
    observation = torch.randn(size, 3, generator=generator)
    return TensorDict(
        {
            "observation": observation,
            "action": torch.rand(size, 2, generator=generator) * 2 - 1,
            "next": {
                "observation": observation + 0.1,
                "action": torch.rand(size, 2, generator=generator) * 2 - 1,
                "reward": torch.rand(size, 1, generator=generator) - 1,
                "terminated": torch.rand(size, 1, generator=generator) < 0.1,
                "truncated": torch.zeros(size, 1, dtype=torch.bool),
                "done": torch.zeros(size, 1, dtype=torch.bool),
            },
        },
        batch_size=[size],
    )


def learn(agent: Agent, generator: torch.Generator, updates: int) -> None:
    for _ in range(updates):
        agent.update(random_batch(generator))


@pytest.fixture(scope="session", autouse=True)
def embedded_data():
    """Whoever has larger data of the same name tests with the small ones all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWPOLICY_DATA", str(EMBEDDED))
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, embedded_data: None) -> RunFolder:
    """A finished run; read-only."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return train(TINY.replace(tensorboard=True), out, progress=False)


@pytest.fixture(scope="module")
def quick_curves():
    """Pictures are empty files, for tests of other things."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("run", "seeds", "together"):
            name = f"flowpolicy.train.{module}.learning_curve"
            patch.setattr(name, lambda _, path: path.touch())
        yield


@pytest.fixture
def tiny() -> TrainConfig:
    return dataclasses.replace(TINY)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"
