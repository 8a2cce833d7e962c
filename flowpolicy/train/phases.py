"""Where the batches of a run come from: the data alone, then the data and the environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from flowpolicy.data import Dataset
from flowpolicy.errors import CheckpointError
from flowpolicy.train.experience import Experience
from flowpolicy.train.interaction import Interaction
from flowpolicy.train.online import OnlineProtocol, policy_action


class Phase(ABC):
    """One turn of the loop is ``advance`` and, where that says so, an update with ``batch``."""

    @property
    @abstractmethod
    def env_steps(self) -> int:
        """Environment steps so far."""

    @abstractmethod
    def advance(self) -> bool:
        """What comes before the update; whether one follows."""

    @abstractmethod
    def batch(self, size: int) -> TensorDictBase:
        """A batch ``[size]``."""

    def state(self) -> dict[str, Tensor] | None:
        """What a checkpoint must hold besides agent and generators."""
        return None

    def close(self) -> None:  # noqa: B027  (most have nothing open)
        """Lets go of what is open."""


@final
class OfflinePhase(Phase):
    """Batches of the data.

    Args:
        dataset: The data as the agent sees them.
        generator: Draws their rows.
    """

    def __init__(self, dataset: Dataset, generator: torch.Generator) -> None:
        self._dataset = dataset
        self._generator = generator

    @property
    def env_steps(self) -> int:
        """None."""
        return 0

    def advance(self) -> bool:
        """An update follows."""
        return True

    def batch(self, size: int) -> TensorDictBase:
        """Rows ``[size]`` of the data."""
        return self._dataset.sample(size, self._generator)


@final
class OnlinePhase(Phase):
    """One environment step, then a batch of data and online rows.

    Args:
        protocol: Who acts in the first steps, and how many of them have no update.
        interaction: Makes the rows.
        experience: Keeps them.
    """

    def __init__(
        self, protocol: OnlineProtocol, interaction: Interaction, experience: Experience
    ) -> None:
        self.protocol = protocol
        self.interaction = interaction
        self.experience = experience

    @property
    def env_steps(self) -> int:
        """Steps of the environment."""
        return self.interaction.steps

    def advance(self) -> bool:
        """One environment step; an update follows it after the warm-up."""
        warming_up = self.env_steps < self.protocol.warmup_steps
        rows = self.interaction.step(self.protocol.warmup_action if warming_up else policy_action)
        if rows is not None:
            self.experience.append(rows)
        return not warming_up and self.experience.ready

    def batch(self, size: int) -> TensorDictBase:
        """Rows ``[size]`` as the protocol mixes them."""
        return self.experience.sample(size)

    def state(self) -> dict[str, Tensor]:
        """Online rows and counters."""
        rows = {f"rows/{name}": value for name, value in self.experience.state().items()}
        counters = {f"counters/{k}": value for k, value in self.interaction.state().items()}
        return rows | counters

    def load(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Goes on from :meth:`state`, with a new episode.

        Raises:
            CheckpointError: The rows do not fit the data, or counters are missing.
        """
        counters = _below("counters/", state)
        if missing := sorted(self.interaction.state().keys() - counters.keys()):
            raise CheckpointError(f"{origin}: the online counters lack {missing[0]!r}")
        self.experience.load(_below("rows/", state), origin)
        self.interaction.load(counters)

    def close(self) -> None:
        """Ends the environment."""
        self.interaction.close()


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
