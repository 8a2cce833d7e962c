"""The one idea of the library: an actor maps (observation, noise) to an action."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase, dispatch
from tensordict.nn.probabilistic import interaction_type
from torch import Tensor, nn

from flowpolicy.errors import (
    ShapeError,
    require_at_least,
    require_dtype,
    require_floating,
    require_last_dim,
    require_obs_dim,
    require_tensor,
)
from flowpolicy.modules.keys import entry
from flowpolicy.paths.draws import Draw, GaussianNoise

_LIKELIEST = (
    InteractionType.DETERMINISTIC,
    InteractionType.MODE,
    InteractionType.MEAN,
    InteractionType.MEDIAN,
)
"""Exploration types that ask for no noise: a Gaussian's mean and median are its mode."""


class Actor(TensorDictModuleBase, ABC):
    r"""Maps an observation and noise to an action, deterministically.

    .. math:: a = \mathrm{clip}_{[-1, 1]}\big(\mathrm{raw}(s, z)\big),\qquad z \sim \mathcal N(0, I)

    A velocity field with a sampler is an actor; so are a one-step network and best-of-N over
    another actor. An implementation gives ``raw`` only: ``act`` is ``raw`` clipped, and ``act``,
    ``forward`` and ``draw_noise`` are final, so that every caller gets the same action. As a
    TensorDict module it reads ``observation`` and, where present and the actor is random,
    ``noise``, and writes ``action``; absent noise is drawn from PyTorch's global generator. Under
    TorchRL's deterministic exploration type it acts by its ``mode`` in place of drawing: noise that
    is given counts under every type. Flows and what is distilled from them have no mode but
    themselves, because sampling is how they are scored.

    Args:
        obs_dim: ``O``.
        act_dim: ``A``.
        noise_shape: the shape of one sample's noise; ``(A,)`` where ``None``, ``(0,)`` for an actor
            without any.

    Raises:
        ConfigError: a size that is no whole number of at least 1.
        ShapeError: an observation or noise of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).
    """

    def __init__(
        self, obs_dim: int, act_dim: int, noise_shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.in_keys: list[NestedKey] = ["observation", "noise"]
        self.out_keys: list[NestedKey] = ["action"]
        self.obs_dim = require_obs_dim(self.name, obs_dim)
        self.act_dim = require_at_least(self.name, "act_dim", act_dim, 1)
        self.noise_shape = (self.act_dim,) if noise_shape is None else tuple(noise_shape)

    __repr__ = nn.Module.__repr__  # TensorDict's own leaves out extra_repr

    @property
    def name(self) -> str:
        """The class's name, for messages."""
        return type(self).__name__

    @property
    def noise_draw(self) -> Draw:
        """What ``act`` needs besides the observation."""
        return Draw(self.noise_shape, GaussianNoise())

    @property
    def is_random(self) -> bool:
        """Whether it draws anything: one of ``noise_shape`` ``(0,)`` acts without noise."""
        return 0 not in self.noise_shape

    @property
    def trained(self) -> nn.Module:
        """What a loss on its action trains: all of it, unless it holds a part fixed."""
        return self

    @property
    def mode(self) -> Actor:
        """The actor of its likeliest actions; itself where it is scored by sampling."""
        return self

    @abstractmethod
    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Before clipping: ``observation [*B, O], noise [*B, *noise_shape] -> [*B, A]``."""

    @final
    def act(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The action: ``observation [*B, O], noise [*B, *noise_shape] -> [*B, A]`` in [-1, 1]."""
        return self.raw(observation, noise).clamp(-1, 1)

    def bootstrap(self, observation: Tensor, next_observation: Tensor, noise: Tensor) -> Tensor:
        """The action that enters a Bellman target: by default that of the next observation."""
        del observation
        return self.act(next_observation, noise)

    @final
    def draw_noise(self, observation: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise for ``observation`` ``[*B, O]``: ``[*B, *noise_shape]``."""
        require_tensor(self.name, "observation", observation)
        require_floating(self.name, "observation", observation)
        return self.noise_draw.like(observation, generator)

    @final
    def no_noise(self, observation: Tensor) -> Tensor:
        """What an actor takes that is not random: ``[*B, *noise_shape]`` without an element."""
        return observation.new_empty((*observation.shape[:-1], *self.noise_shape))

    @final
    def check_inputs(self, observation: Tensor, noise: Tensor, like: Tensor | None = None) -> None:
        """Refuse an observation or noise of another shape; for implementations of ``raw``.

        Also of another dtype than ``like``, where an implementation names one of its parameters.
        """
        require_last_dim(self.name, "observation", observation, self.obs_dim)
        require_tensor(self.name, "noise", noise)
        if like is not None:
            require_dtype(self.name, "observation", observation, like)
            require_dtype(self.name, "noise", noise, like)
        expected = (*observation.shape[:-1], *self.noise_shape)
        if noise.shape != expected:
            raise ShapeError(
                f"{self.name}: 'noise' must be {list(expected)} for observations "
                f"{list(observation.shape)}, got {list(noise.shape)}. "
                "Draw it with actor.draw_noise(observation)."
            )

    def set_keys(
        self,
        *,
        observation: NestedKey | None = None,
        noise: NestedKey | None = None,
        action: NestedKey | None = None,
    ) -> Actor:
        """Read and write other entries of a TensorDict. Returns the actor."""
        self.in_keys = [observation or self.in_keys[0], noise or self.in_keys[1]]
        self.out_keys = [action or self.out_keys[0]]
        return self

    @final
    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``action``."""
        observation = entry(self.name, tensordict, self.in_keys[0])
        # One without noise leaves the entry to those that it is for, as the losses do.
        noise = tensordict.get(self.in_keys[1], None) if self.is_random else None
        actor: Actor = self
        if noise is None:
            actor = self.mode if interaction_type() in _LIKELIEST else self
            noise = actor.draw_noise(observation)
        return tensordict.set(self.out_keys[0], actor.act(observation, noise))
