"""Several proposals, the critic's favourite."""

from __future__ import annotations

from typing import final

from einops import rearrange, repeat
from torch import Tensor, nn

from flowpolicy.errors import require_at_least, require_sizes_match
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.critic_ensemble import CriticEnsemble
from flowpolicy.modules.parts import require_actor, require_aggregation, require_critic
from flowpolicy.modules.target_network import TargetNetwork


@final
class BestOf(Actor):
    r"""Proposes ``N`` actions and takes the one that the critics value most.

    .. math::
        a = \arg\max_{a_i}\ \mathrm{agg}_k\, Q_k(s, a_i),\qquad a_i = \mu(s, z_i),\quad i = 1..N

    Its noise has a sample axis of its own, ``[*B, N, A]``. No gradient passes the selection's
    choice, but it does pass the chosen action.

    Args:
        actor: who proposes.
        critic: who chooses.
        n: ``N``.
        aggregation: over the ensemble, e.g. ``min_value`` as in IFQL.

    Raises:
        ConfigError: ``n`` that is no whole number of at least 1, parts of another kind, or an actor
            and a critic of different sizes.
        ShapeError: an observation or noise of another size (in use).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import CriticEnsemble, OneStepActor
        >>> policy = BestOf(
        ...     OneStepActor(3, 2, hidden=(8,)), CriticEnsemble(3, 2, hidden=(8,)), n=32
        ... )
        >>> policy.act(torch.zeros(4, 3), torch.randn(4, 32, 2)).shape
        torch.Size([4, 2])

    Source: Hansen-Estruch et al., "IDQL", 2023, arXiv 2304.10573; IFQL in Park, Li, Levine, "Flow
    Q-learning", ICML 2025, arXiv 2502.02538.

    Differences from the authors' code: any batch shape, where theirs takes a single observation.
    """

    def __init__(
        self,
        actor: Actor,
        critic: CriticEnsemble | TargetNetwork,
        n: int = 32,
        *,
        aggregation: Aggregation = mean_value,
    ) -> None:
        n = require_at_least("BestOf", "n", n, 1)
        require_actor("BestOf", "actor", actor)
        require_critic("BestOf", "critic", critic)
        require_sizes_match("BestOf", actor=actor, critic=critic)
        require_aggregation("BestOf", aggregation, critic)
        super().__init__(actor.obs_dim, actor.act_dim, (n, *actor.noise_shape))
        self.actor = actor
        self.critic = critic
        self.n = n
        self.aggregation = aggregation

    @property
    def trained(self) -> nn.Module:
        """What a loss on the proposer's action trains; the critics only choose."""
        return self.actor.trained

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, N, A] -> [*B, A]``, already clipped."""
        self.check_inputs(observation, noise)
        observations = repeat(observation, "... o -> ... n o", n=self.n)
        actions = self.actor.act(observations, noise)
        values = self.aggregation(self.critic.values(observations, actions))
        best = rearrange(values, "... n 1 -> ... n").argmax(dim=-1)
        index = repeat(best, "... -> ... 1 a", a=self.act_dim)
        return actions.gather(-2, index).squeeze(-2)

    def extra_repr(self) -> str:
        """The number of proposals."""
        return f"n={self.n}"
