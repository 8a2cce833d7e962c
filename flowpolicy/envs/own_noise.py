"""Noise of a policy's actions from a generator that belongs to one environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from tensordict import TensorDictBase
from torchrl.data.tensor_specs import Composite, TensorSpec, Unbounded
from torchrl.envs import Transform


@final
class OwnNoise(Transform):
    r"""Writes the next action's ``noise`` at every reset and every step.

    .. math:: z \sim \mathcal N(0, I)

    An actor takes the noise that it finds, so in a collector with several workers each draws from
    a generator of its own, whatever state PyTorch's global one has there, and the data hold what
    the action was made of. Losses that want other noise get batches without it:
    ``batch.exclude("noise", ("next", "noise"))``.

    Args:
        noise_shape: of one action, as the actor says it.
        seed: of the generator; another for every worker. A copy of this transform draws the same.

    Example:
        >>> from torchrl.envs import TransformedEnv
        >>> from flowpolicy import envs
        >>> actor = fp.OneStepActor(3, 1, hidden=(8,))
        >>> env = TransformedEnv(envs.make("Pendulum-v1"), OwnNoise(actor.noise_shape, seed=0))
        >>> rows = env.rollout(5, actor)
        >>> torch.allclose(actor.act(rows["observation"], rows["noise"]), rows["action"])
        True
    """

    def __init__(self, noise_shape: Sequence[int], *, seed: int) -> None:
        super().__init__(in_keys=[], out_keys=["noise"])
        self.noise_shape = tuple(noise_shape)
        self.seed = seed
        self._generator = torch.Generator().manual_seed(seed)

    def transform_observation_spec(self, observation_spec: TensorSpec) -> TensorSpec:
        """Adds ``noise``."""
        shape = (*observation_spec.shape, *self.noise_shape)
        noise = Unbounded(shape=shape, device=observation_spec.device)
        if not isinstance(observation_spec, Composite):
            observation_spec = Composite(observation=observation_spec, shape=self.parent.batch_size)
        observation_spec["noise"] = noise
        return observation_spec

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        del tensordict
        return self._with_noise(tensordict_reset)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        del tensordict
        return self._with_noise(next_tensordict)

    def _with_noise(self, tensordict: TensorDictBase) -> TensorDictBase:
        shape = (*tensordict.batch_size, *self.noise_shape)
        noise = torch.randn(shape, generator=self._generator)
        return tensordict.set("noise", noise.to(tensordict.device))

    def extra_repr(self) -> str:
        """Shape and seed."""
        return f"noise_shape={self.noise_shape}, seed={self.seed}"
