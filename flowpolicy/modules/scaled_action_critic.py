"""A critic that is asked in other units."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from flowpolicy.errors import require_positive
from flowpolicy.modules.critic_ensemble import CriticEnsemble
from flowpolicy.modules.parts import require_critic
from flowpolicy.modules.target_network import TargetNetwork


@final
class ScaledActionCritic(nn.Module):
    r"""A critic asked at a multiple of the action.

    .. math:: Q_k(s, c\,a)

    So a policy whose actions are in [-1, 1] climbs a critic of noises in [-c, c].

    Args:
        critic: the critics.
        scale: ``c``, above 0.

    Raises:
        ConfigError: what is no critic, or a scale that is not above 0.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> critic, s, a = fp.CriticEnsemble(3, 2, hidden=(8,)), torch.zeros(4, 3), torch.ones(4, 2)
        >>> torch.equal(ScaledActionCritic(critic, 1.4).values(s, a), critic.values(s, 1.4 * a))
        True
    """

    def __init__(self, critic: CriticEnsemble | TargetNetwork, scale: float) -> None:
        super().__init__()
        require_critic("ScaledActionCritic", "critic", critic)
        self.critic = critic
        self.scale = require_positive("ScaledActionCritic", "scale", scale)
        self.obs_dim: int = critic.obs_dim
        self.act_dim: int = critic.act_dim
        self.size: int | None = getattr(critic, "size", None)

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """``observation [*B, O], action [*B, A] -> [E, *B, 1]``."""
        values: Tensor = self.critic.values(observation, self.scale * action)
        return values

    def extra_repr(self) -> str:
        """The scale."""
        return f"scale={self.scale:g}"
