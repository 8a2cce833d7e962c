"""All randomness of an agent's updates, in one place that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from flowpolicy.errors import ConfigError
from flowpolicy.paths.draws import Draw


@final
class NoiseSource:
    """Draws noise and times from generators of its own, one for each device.

    Args:
        seed: what the generators start from.

    Example:
        >>> import torch
        >>> from flowpolicy.paths import Draw, GaussianNoise
        >>> source, draw = NoiseSource(seed=0), Draw((1,), GaussianNoise())
        >>> observation = torch.zeros(2, 3)
        >>> state = source.state_dict()
        >>> first = source.sample(draw, observation)
        >>> source.load_state_dict(state)
        >>> first.shape, torch.equal(source.sample(draw, observation), first)
        (torch.Size([2, 1]), True)
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

    def sample(self, draw: Draw, observation: Tensor) -> Tensor:
        """A draw for each row of ``observation [*B, O]``, from the generator of its device."""
        return draw.like(observation, self.generator(observation.device))

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
        # Generators of every device take their states from the host.
        self._states = {name: value.cpu().clone() for name, value in state["generators"].items()}

    def __getstate__(
        self,
    ) -> dict[str, Any]:  # generators themselves can be neither copied nor pickled everywhere
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.load_state_dict(state)
