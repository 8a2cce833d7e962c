"""Fine-tuning a flow by regression on adjoints."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from flowpolicy.functional.action_gradient import action_gradient
from flowpolicy.functional.lean_adjoint import adjoint_matching_error, lean_adjoint
from flowpolicy.functional.memoryless import memoryless_path
from flowpolicy.losses.memoryless_loss import MemorylessLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.samplers.sampler import velocity_given


@final
class AdjointMatchingLoss(MemorylessLoss):
    r"""Regresses a field on its base, corrected by the critics' slope carried back in time.

    .. math::
        L = c\,\Big\langle \sum_{i=0}^{T-1} \Big\| \frac{2}{\sigma_i}\,
            \big(f_\theta(s, x_i, t_i) - f_\beta(s, x_i, t_i)\big)
            + \sigma_i\,\tilde g_i \Big\|^2 \Big\rangle_B,\qquad
        \tilde g_T = -\frac1\eta\,\nabla_x\, \mathrm{agg}_k\,Q_k(s, \mathrm{clip}(x))\Big|_{x_T}

    The paths ``x_i`` are drawn from the stochastic equation of ``f_theta``, the lean adjoints run
    backwards along them under ``f_beta``; both are constants. Its minimum is the behaviour tilted
    by ``exp(Q / eta)``, with the critics' first derivative alone and no gradient through a chain of
    steps. Where the path ends outside the box the critics' slope is 0. The sum over steps and
    dimensions. Trains the field. Reads ``observation`` ``[*B, O]`` and where present
    ``path_noise`` ``[*B, T, A]``: each path's start, then the noises of its steps but the last.
    Metrics: ``adjoint_mean`` and ``adjoint_max``, of the absolute entries of the adjoints at the
    ends of the paths: how steep the critics are, in units of the temperature.

    Args:
        field: ``f_theta``, the velocity field to train.
        base: ``f_beta``, e.g. ``TargetNetwork(behavior_field)``.
        critic: the critics whose slope it follows, usually their target.
        temperature: ``eta``, above 0; the papers' inverse temperature is its reciprocal.
        steps: ``T``.
        aggregation: over the ensemble.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``, by default ``adjoint``.

    Raises:
        ConfigError: parts of the wrong kind or of different sizes, critics that are not
            differentiable in the action, a base that is the trained field itself, a
            temperature that is not above 0, ``steps`` that is no whole number of at least 1, a
            negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> field, behavior = (fp.VelocityField(3, 2, hidden=(16,)) for _ in range(2))
        >>> critic = fp.CriticEnsemble(3, 2, hidden=(16,))
        >>> loss = fp.AdjointMatchingLoss(field, behavior, critic, temperature=1.0)
        >>> batch = TensorDict(observation=torch.randn(8, 3), batch_size=[8])
        >>> loss(batch)["loss_adjoint"].backward()
        >>> all(p.grad is None for p in [*behavior.parameters(), *critic.parameters()])
        True

    Source: Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234, and the
    authors' code, after Domingo-Enrich et al., "Adjoint matching", ICLR 2025, arXiv 2409.08861.
    """

    default_name: ClassVar[str] = "adjoint"
    metrics: ClassVar[tuple[str, ...]] = ("mean", "max")

    @torch.no_grad()
    def adjoints(self, observation: Tensor, path: Tensor) -> Tensor:
        """The lean adjoints of paths ``[T + 1, *B, A]``, in their shape."""

        def value(action: Tensor) -> Tensor:
            return self.value(observation, action.clamp(-1, 1))

        end = -action_gradient(value, path[-1]) / self.temperature
        return lean_adjoint(velocity_given(self.base, observation), path, end)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of all steps, ``[*B, 1]``; the paths' own velocities are regressed."""
        observation, noise = evaluated.observation(self.field), self.path_noise(evaluated)
        self.sde.check_inputs(observation, noise)
        field = velocity_given(self.field, observation)
        base = velocity_given(self.base, observation)
        velocities: list[Tensor] = []
        bases: list[Tensor] = []

        def ask(x: Tensor, time: float) -> None:
            velocities.append(field(x, time))
            bases.append(base(x, time).detach())

        def of_field(x: Tensor, time: float) -> Tensor:
            ask(x, time)
            return velocities[-1].detach()

        def of_base(x: Tensor, time: float) -> Tensor:
            ask(x, time)
            return bases[-1]

        path = memoryless_path(of_field, noise, end=of_base)
        adjoint = self.adjoints(observation, path)
        error = adjoint_matching_error(torch.stack(velocities), torch.stack(bases), adjoint[:-1])
        steepness = adjoint[-1].abs()
        return error, {"mean": steepness.mean(), "max": steepness.amax()}
