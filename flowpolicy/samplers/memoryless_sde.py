"""Sampling a flow along random paths."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from flowpolicy.errors import require_at_least, require_sizes_match
from flowpolicy.functional.memoryless import memoryless_path
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.parts import require_field
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.modules.velocity_field import VelocityField
from flowpolicy.samplers.sampler import velocity_given


@final
class MemorylessSDE(Actor):
    r"""Follows a velocity field with noise in every step, so that the end forgets the start.

    .. math::
        dX_t = \Big(2 v(s, X_t, t) - \frac{X_t}{t}\Big) dt + \sigma_t\,dB_t,\qquad
        \sigma_t = \sqrt{\frac{2 (1 - t)}{t}}

    The paths have the marginals of the flow ``dx = v dt`` of a field trained on ``LinearPath``;
    these formulas hold on no other path. The action is independent of the start: the law of paths
    under which a flow is fine-tuned without bias. In ``T`` steps, shifted away from the pole at 0,
    the last one without noise. Its noise holds the start and the noise of every step but the last,
    ``[*B, T, A]``.

    Args:
        field: the velocity field, trained on ``LinearPath``.
        end: the field of the last step, e.g. the behaviour's; ``field`` where ``None``. It is held
            fixed: gradient passes it, but does not reach its parameters.
        steps: ``T``.

    Raises:
        ConfigError: a field without ``velocity``, two fields of different sizes, or ``steps`` that
            is no whole number of at least 1.
        ShapeError: an observation or noise of another size (in use).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import VelocityField
        >>> sde = MemorylessSDE(VelocityField(3, 2, hidden=(8,)), steps=10)
        >>> s, z = torch.zeros(4, 3), torch.randn(4, 10, 2)
        >>> sde.act(s, z).shape, sde.trajectory(s, z).shape
        (torch.Size([4, 2]), torch.Size([11, 4, 2]))

    Source: Domingo-Enrich et al., "Adjoint matching", ICLR 2025, arXiv 2409.08861; discretised as
    in the code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234.
    """

    def __init__(
        self,
        field: VelocityField | TargetNetwork,
        end: VelocityField | TargetNetwork | None = None,
        steps: int = 10,
    ) -> None:
        require_field("MemorylessSDE", "field", field)
        steps = require_at_least("MemorylessSDE", "steps", steps, 1)
        if end is not None:
            require_field("MemorylessSDE", "end", end)
            require_sizes_match("MemorylessSDE", field=field, end=end)
        super().__init__(field.obs_dim, field.act_dim, (steps, field.act_dim))
        self.steps = steps
        self.field = field
        self.end = end
        self._fixed_end = None if end is None else frozen(end)

    @property
    def trained(self) -> nn.Module:
        """The field, where the last step has one of its own."""
        return self if self.end is None else self.field

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The end: ``observation [*B, O], noise [*B, T, A] -> [*B, A]``, not clipped."""
        return self.trajectory(observation, noise)[-1]

    def trajectory(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The whole path, start first, not clipped: ``[T + 1, *B, A]``."""
        self.check_inputs(observation, noise)
        end = None if self._fixed_end is None else velocity_given(self._fixed_end, observation)
        return memoryless_path(velocity_given(self.field, observation), noise, end)

    def extra_repr(self) -> str:
        """The number of steps."""
        return f"steps={self.steps}"
