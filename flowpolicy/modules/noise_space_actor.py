"""A policy over the noise of another actor."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from flowpolicy.errors import require_positive, require_sizes_match
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.parts import require_actor, require_noise_like_action


@final
class NoiseSpaceActor(Actor):
    r"""Chooses the noise of a flow that it holds fixed.

    .. math:: u = \pi_\omega(s, \xi) \in [-1, 1]^A,\qquad a = \mathrm{clip}\big(\mathrm{flow}(s,
        c\,u)\big)

    A loss on its action passes gradient through the flow to the latent policy and trains that
    alone.

    Args:
        latent: an actor whose actions are noises over ``c``.
        flow: whose noise is as wide as its action, such as a sampler.
        scale: ``c``, above 0; the largest noise in each dimension.

    Raises:
        ConfigError: parts of other kinds or sizes, or a scale that is not above 0.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)))
        >>> actor = NoiseSpaceActor(fp.TanhGaussianActor(3, 2, hidden=(16,)), flow, scale=1.4)
        >>> actor.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])

    Source: DSRL in Wagenmaker et al., "Steering your diffusion policy with latent space
    reinforcement learning", 2025, arXiv 2506.15799.
    """

    def __init__(self, latent: Actor, flow: Actor, scale: float = 1.0) -> None:
        require_actor("NoiseSpaceActor", "latent", latent)
        require_actor("NoiseSpaceActor", "flow", flow)
        require_sizes_match("NoiseSpaceActor", latent=latent, flow=flow)
        require_noise_like_action("NoiseSpaceActor", "flow", flow)
        super().__init__(flow.obs_dim, flow.act_dim, latent.noise_shape)
        self.latent = latent
        self.flow = flow
        self.scale = require_positive("NoiseSpaceActor", "scale", scale)
        self._fixed = frozen(flow)

    @property
    def trained(self) -> nn.Module:
        """The latent policy."""
        return self.latent.trained

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """``observation [*B, O], noise [*B, *noise_shape] -> [*B, A]``, not clipped."""
        self.check_inputs(observation, noise)
        return self._fixed.raw(observation, self.scale * self.latent.act(observation, noise))

    def extra_repr(self) -> str:
        """The scale."""
        return f"scale={self.scale:g}"
