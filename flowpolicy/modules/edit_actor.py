"""A policy that edits what another proposes."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_instance, require_not_negative
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.parts import require_actor
from flowpolicy.modules.stochastic_actor import StochasticActor


@final
class EditActor(StochasticActor):
    r"""Adds a small learned edit to the action of another actor, which it holds fixed.

    .. math:: \tilde a = \mathrm{sg}[\mathrm{clip}(\mathrm{base}(s, z))],\qquad
        \delta \sim \pi_\omega(\cdot \mid s, \tilde a),\qquad
        a = \mathrm{clip}(\tilde a + \sigma_a\, \delta)

    The log-probability is that of the edit before it is scaled. Noise is stacked ``[*B, 2, A]``:
    ``z`` of the base, then that of the edit. A loss on its action trains the edit alone.

    Args:
        base: whose action is edited, such as a flow with its sampler.
        edit: a stochastic actor of the observation and the action together, ``obs_dim = O + A``.
        scale: ``sigma_a``, at least 0; with 0 the action is the base's.

    Raises:
        ConfigError: parts of other kinds or sizes, a base or an edit whose noise is not ``(A,)``,
            or a negative scale.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)))
        >>> actor = EditActor(flow, fp.TanhGaussianActor(3 + 2, 2, hidden=(16,)), scale=0.1)
        >>> s, noise = torch.zeros(4, 3), torch.randn(4, 2, 2)
        >>> (actor.act(s, noise) - flow.act(s, noise[:, 0])).abs().max() <= 0.1
        tensor(True)

    Source: Dong et al., "EXPO: stable reinforcement learning with expressive policies", 2025, arXiv
    2507.07986; as QAM-EDIT and FEdit in Li, Levine, "Q-learning with adjoint matching", ICLR 2026,
    arXiv 2601.14234.
    """

    def __init__(self, base: Actor, edit: StochasticActor, scale: float) -> None:
        require_actor("EditActor", "base", base)
        hint = "Pass a TanhGaussianActor(obs_dim + act_dim, act_dim)."
        require_instance("EditActor", "edit", edit, StochasticActor, hint)
        noise = (base.act_dim,)
        if (edit.obs_dim, edit.act_dim) != (base.obs_dim + base.act_dim, base.act_dim):
            raise ConfigError(
                f"EditActor: the edit sees the observation and the base's action, so it needs "
                f"obs_dim={base.obs_dim + base.act_dim}, act_dim={base.act_dim}; it has "
                f"obs_dim={edit.obs_dim}, act_dim={edit.act_dim}."
            )
        if base.noise_shape != noise or edit.noise_shape != noise:
            raise ConfigError(
                f"EditActor: base and edit must each draw noise {noise}, but their noise_shapes "
                f"are {base.noise_shape} and {edit.noise_shape}."
            )
        super().__init__(base.obs_dim, base.act_dim, noise_shape=(2, base.act_dim))
        self.base = base
        self.edit = edit
        self.scale = require_not_negative("EditActor", "scale", scale)

    @property
    def trained(self) -> nn.Module:
        """The edit."""
        return self.edit.trained

    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``observation [*B, O], noise [*B, 2, A] -> [*B, A], [*B, 1]``."""
        self.check_inputs(observation, noise)
        with torch.no_grad():
            proposal = self.base.act(observation, noise[..., 0, :]).detach()
        edit, log_prob = self.edit.sample(
            torch.cat([observation, proposal], dim=-1), noise[..., 1, :]
        )
        return proposal + self.scale * edit, log_prob

    def extra_repr(self) -> str:
        """The scale."""
        return f"scale={self.scale:g}"
