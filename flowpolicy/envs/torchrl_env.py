"""``make``: the TorchRL environment of a data set, with success and float32 observations."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from tensordict import TensorDictBase
from torchrl.data.tensor_specs import Binary, Composite, TensorSpec
from torchrl.envs import EnvBase, GymWrapper, ParallelEnv, SerialEnv
from torchrl.envs.gym_like import BaseInfoDictReader

from flowpolicy.envs.gym import make_gym
from flowpolicy.envs.names import is_single_task
from flowpolicy.errors import require_at_least


class SuccessReader(BaseInfoDictReader):
    """Copies ``info["success"]`` to the key ``success`` ``[1]``, a bool, False at a reset."""

    def __init__(self) -> None:
        self._spec = Composite(success=Binary(n=1, dtype=torch.bool), shape=[])

    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """Write ``success`` to ``tensordict``."""
        success = bool(info_dict.get("success", False))
        return tensordict.set("success", torch.tensor([success], device=tensordict.device))

    @property
    def info_spec(self) -> dict[str, TensorSpec]:
        """What is written, as specs."""
        return self._spec  # type: ignore[no-any-return]  # TorchRL's own readers return a Composite


def _make_one(name: str, **kwargs: Any) -> EnvBase:
    env = GymWrapper(make_gym(name, **kwargs))
    if is_single_task(name):
        env.set_info_dict_reader(SuccessReader())
    return env


def make(name: str, num_workers: int = 1, *, serial: bool = False, **kwargs: Any) -> EnvBase:
    """The TorchRL environment of a data set or gymnasium id.

    Reads ``action`` ``[*B, A]`` in [-1, 1]; writes ``observation`` ``[*B, O]`` float32, ``reward``,
    ``done``, ``terminated``, ``truncated`` ``[*B, 1]`` and, for OGBench's environments, ``success``
    ``[*B, 1]`` bool. ``*B`` is empty for one worker and ``(num_workers,)`` otherwise.

    Args:
        name: a single-task data set of OGBench or any registered id of gymnasium.
        num_workers: how many copies step together; above one each runs in a process of its own.
        serial: step the copies one after the other in this process instead.
        kwargs: passed to ``gymnasium.make``.

    Raises:
        ConfigError: the name is unknown, its spaces are not flat, or ``num_workers`` is below 1.

    Example:
        >>> env = make("Pendulum-v1", num_workers=2, serial=True)
        >>> env.rollout(3)["observation"].shape
        torch.Size([2, 3, 3])
    """
    require_at_least("envs.make", "num_workers", num_workers, 1)
    if num_workers == 1:
        return _make_one(name, **kwargs)
    create = partial(_make_one, name, **kwargs)
    return SerialEnv(num_workers, create) if serial else ParallelEnv(num_workers, create)
