"""All randomness of an agent's updates, in one place that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from flowpolicy.errors import ConfigError
from flowpolicy.modules.drawing import with_draws
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.paths.draws import Draw


@final
class NoiseSource:
    """Draws noise and times from generators of its own, one for each device.

    Args:
        seed: what the generators start from.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from flowpolicy.modules import BatchKeys
        >>> from flowpolicy.paths import Draw, GaussianNoise
        >>> batch = TensorDict(observation=torch.zeros(2, 3), batch_size=[2])
        >>> source, draws = NoiseSource(seed=0), {"noise": Draw((1,), GaussianNoise())}
        >>> state = source.state_dict()
        >>> first = source.fill(batch, draws, BatchKeys())["noise"]
        >>> source.load_state_dict(state)
        >>> torch.equal(source.fill(batch, draws, BatchKeys())["noise"], first), "noise" in batch
        (True, False)
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start again from ``seed``."""
        self._seed = seed
        self._generators: dict[str, torch.Generator] = {}
        self._states: dict[str, Tensor] = {}

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of ``device``, made at its first use."""
        name = str(device)
        if name not in self._generators:
            generator = torch.Generator(device=device).manual_seed(self._seed)
            if name in self._states:
                generator.set_state(self._states[name])
            self._generators[name] = generator
        return self._generators[name]

    def fill(
        self, batch: TensorDictBase, draws: Mapping[NestedKey, Draw], keys: BatchKeys
    ) -> TensorDictBase:
        """The batch with every missing draw drawn; the caller's batch is not written."""
        like = batch.get(keys.observation, None)
        if like is None:
            return batch
        return with_draws(batch, draws, keys, generator=self.generator(like.device))

    def state_dict(self) -> dict[str, Any]:
        """``{"seed": int, "generators": {device: uint8 tensor}}``."""
        states = {name: generator.get_state() for name, generator in self._generators.items()}
        return {"seed": self._seed, "generators": {**self._states, **states}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; those of devices that are not used here are kept for later.

        Raises:
            ConfigError: a state that lacks the seed or the generators.
        """
        if set(state) != {"seed", "generators"}:
            raise ConfigError(
                "NoiseSource: a state has the entries 'seed' and 'generators', got "
                f"{sorted(state)}."
            )
        self.seed(int(state["seed"]))
        self._states = {name: value.clone() for name, value in state["generators"].items()}

    def __getstate__(
        self,
    ) -> dict[str, Any]:  # generators themselves can be neither copied nor pickled everywhere
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)
