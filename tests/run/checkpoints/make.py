"""Writes the checkpoint of today's format that later versions must go on from.

``python -m tests.run.checkpoints.make`` makes the folder of the newest format where it is missing.
A folder is never made anew: each was written by the code of its day.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from flowpolicy.agents import Agent, build
from flowpolicy.checkpoint import Checkpoints
from flowpolicy.checkpoint.migrations import FORMAT_VERSION

HERE = Path(__file__).parent
RECIPE: dict[str, Any] = {
    "agent": "fql",
    "obs_dim": 3,
    "act_dim": 2,
    "options": {"hidden": [4], "flow_steps": 2, "alpha": 0.1},
}
EXPECTED = "expected.json"


def agent(seed: int) -> Agent:
    torch.manual_seed(seed)
    made = build(RECIPE["agent"], RECIPE["obs_dim"], RECIPE["act_dim"], **RECIPE["options"])
    made.noise.seed(seed)
    return made


def batch(generator: torch.Generator, size: int = 8) -> TensorDict:
    observation = torch.randn(size, 3, generator=generator)
    following = {
        "observation": observation + 0.1,
        "reward": torch.rand(size, 1, generator=generator) - 1,
        "terminated": torch.rand(size, 1, generator=generator) < 0.1,
        "done": torch.zeros(size, 1, dtype=torch.bool),
    }
    action = torch.rand(size, 2, generator=generator) * 2 - 1
    entries = {"observation": observation, "action": action, "next": following}
    return TensorDict(entries, batch_size=[size])


def schedule(learner: Agent) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.StepLR(learner.optimizer, step_size=2, gamma=0.1)


def continued(
    learner: Agent,
    batches: torch.Generator,
    decay: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> dict[str, Any]:
    """What two more updates come to, and the next draws of the global generators."""
    draws = [random.random(), float(np.random.random()), torch.rand(1).item()]  # noqa: NPY002, S311
    losses = []
    for _ in range(2):
        losses.append(learner.update(batch(batches))["loss_qvalue"].item())
        if decay is not None:
            decay.step()
    action = learner.act(torch.ones(3), torch.full((2,), 0.5))
    return {
        "step": learner.step,
        "draws": draws,
        "losses": losses,
        "action": action.tolist(),
        "lr": learner.optimizer.param_groups[0]["lr"],
    }


def main() -> None:
    folder = HERE / f"v{FORMAT_VERSION}"
    if folder.exists():
        return
    learner, batches = agent(0), torch.Generator().manual_seed(5)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    decay = schedule(learner)
    for _ in range(3):
        learner.update(batch(batches))
        decay.step()
    checkpoints = Checkpoints(folder)
    checkpoints.save(
        learner,
        config={"recipe": RECIPE},
        generators={"batches": batches},
        preprocessing={"observation_mean": torch.tensor([0.5, 0.0, -0.5])},
        extras={"schedule": decay},
        data={"name": "made up", "fingerprint": "0" * 64},
        online={"counters/steps": torch.tensor(7), "rows/action": torch.zeros(2, 2)},
    )
    (checkpoints.root / "last").unlink()
    expected = continued(learner, batches, decay)
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
