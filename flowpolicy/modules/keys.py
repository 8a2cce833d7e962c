"""The names of a batch's entries."""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import Tensor

from flowpolicy.errors import MissingKeyError


@dataclass
class BatchKeys:
    """Where losses, weights and actors find what they read; TorchRL's names by default.

    ``reward`` and ``terminated`` are read under ``"next"``, ``observation`` and ``noise`` at both
    ends of a transition. Change them with ``set_keys`` of a loss, an agent's loss, or an actor.

    Attributes:
        observation: ``[*B, O]``.
        action: ``[*B, A]`` in [-1, 1].
        reward: ``[*B, 1]``.
        terminated: ``[*B, 1]`` bool. The end of a recorded trajectory is not a termination.
        steps: ``[*B, 1]``, the number of environment steps of an n-step row; one where absent.
        noise: ``[*B, *noise_shape]``, the noise of the policy's action; drawn where absent.
        x0: ``[*B, A]``, the noise end of the flow-matching path; drawn where absent.
        time: ``[*B, 1]``, the flow time; drawn where absent.
        path_noise: ``[*B, T, A]``, the start of a memoryless path and the noises of its steps;
            drawn where absent.
        valid: ``[*B, 1]`` bool, False where an action chunk would leave its trajectory; losses of
            the data's action count such a row as zero. All rows are valid where absent.
        priority_weight: ``[*B]`` importance weights of a prioritised replay buffer, where present.
    """

    observation: NestedKey = "observation"
    action: NestedKey = "action"
    reward: NestedKey = "reward"
    terminated: NestedKey = "terminated"
    steps: NestedKey = "steps_to_next_obs"
    noise: NestedKey = "noise"
    x0: NestedKey = "x0"
    time: NestedKey = "time"
    path_noise: NestedKey = "path_noise"
    valid: NestedKey = "valid"
    priority_weight: NestedKey = "priority_weight"


def next_key(key: NestedKey) -> NestedKey:
    """The same entry at the other end of the transition.

    Example:
        >>> next_key("observation")
        ('next', 'observation')
    """
    return unravel_key(("next", key))


def entry(owner: str, tensordict: TensorDictBase, key: NestedKey) -> Tensor:
    """The entry of a TensorDict that ``owner`` cannot do without.

    Raises:
        MissingKeyError: there is none.

    Example:
        >>> from tensordict import TensorDict
        >>> import torch
        >>> entry("ValueNetwork", TensorDict(obs=torch.zeros(3)), "observation")
        Traceback (most recent call last):
        flowpolicy.errors.MissingKeyError: ValueNetwork: the batch has no 'observation'; ...
    """
    value: Tensor | None = tensordict.get(key, None)
    if value is None:
        names = sorted(map(str, tensordict.keys(include_nested=True, leaves_only=True)))
        raise MissingKeyError(
            f"{owner}: the batch has no {key!r}; it has {names}. Add it, or name it with set_keys."
        )
    return value
