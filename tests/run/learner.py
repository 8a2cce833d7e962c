"""Everything that a run can consist of, and each part of its state by name."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement

from flowpolicy.checkpoint import Checkpoints
from flowpolicy.checkpoint.optimizer_state import optimizer_to_state
from tests.run.conftest import random_batch, tiny_agent


class Learner:
    """An agent with a schedule, rows of a generator and of a sampler, and global randomness."""

    def __init__(self, seed: int, **options: Any) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        self.agent = tiny_agent(seed, hidden=(8,), **options)
        self.batches = torch.Generator().manual_seed(seed)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.agent.optimizer, 3, 0.5)
        self.sampler = SamplerWithoutReplacement()
        rows = random_batch(torch.Generator().manual_seed(0), 20)  # the same data for all
        self.buffer = ReplayBuffer(storage=LazyTensorStorage(20), sampler=self.sampler)
        self.buffer.extend(rows)

    def turn(self) -> None:
        shift = random.random() + np.random.random() + torch.rand(1).item()  # noqa: NPY002, S311
        batch: TensorDict = torch.cat([self.buffer.sample(4), random_batch(self.batches, 4)])
        batch["observation"] = batch["observation"] + shift
        self.agent.update(batch)
        self.schedule.step()

    def save(self, checkpoints: Checkpoints) -> None:
        generators, extras = {"batches": self.batches}, self.extras
        checkpoints.save(self.agent, generators=generators, extras=extras)

    def load(self, checkpoints: Checkpoints) -> None:
        generators, extras = {"batches": self.batches}, self.extras
        checkpoints.load(self.agent, generators=generators, extras=extras)

    @property
    def extras(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "sampler": self.sampler}

    def parts(self) -> dict[str, tuple[Any, Callable[[Any], object]]]:
        """The state of every part, and what puts it back."""
        agent, optimizer = self.agent, self.agent.optimizer

        def restore_rate(rate: float) -> None:
            optimizer.param_groups[0]["lr"] = rate

        def restore_moments(state: dict[int, Any]) -> None:
            now = optimizer.state_dict()
            optimizer.load_state_dict({**now, "state": state})

        states = {
            "networks": (agent.networks.state_dict(), agent.networks.load_state_dict),
            "targets": (agent.targets.state_dict(), agent.targets.load_state_dict),
            "moments": (optimizer.state_dict()["state"], restore_moments),
            "learning rate": (optimizer.param_groups[0]["lr"], restore_rate),
            "schedule": (self.schedule.state_dict(), self.schedule.load_state_dict),
            "sampler": (self.sampler.state_dict(), self.sampler.load_state_dict),
            "noise": (agent.noise.state_dict(), agent.noise.load_state_dict),
            "generator": (self.batches.get_state(), self.batches.set_state),
            "python": (random.getstate(), random.setstate),
            "numpy": (np.random.get_state(), np.random.set_state),  # noqa: NPY002
            "torch": (torch.get_rng_state(), torch.set_rng_state),
            "skipped": (int(agent.guard.skipped), lambda skipped: agent.guard.load(skipped, 0)),
            "step": (agent.step, lambda step: setattr(agent, "step", step)),
        }
        return {name: (copy.deepcopy(state), back) for name, (state, back) in states.items()}

    def digest(self) -> str:
        """SHA-256 of weights, moments and counters."""
        moments, _ = optimizer_to_state(self.agent.optimizer)
        tensors = {**self.agent.state_dict(), **moments}
        whole = hashlib.sha256(f"{self.agent.step} {self.agent.guard.skipped}".encode())
        for name in sorted(tensors):
            whole.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
        return whole.hexdigest()
