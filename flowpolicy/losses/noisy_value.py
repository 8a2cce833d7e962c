"""Teaching critics what a noisy action is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, final

from tensordict import NestedKey
from torch import Tensor, nn

from flowpolicy.errors import require_sizes_match
from flowpolicy.functional.temporal_difference import td_error
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.drawing import noise_and_time
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.noisy_critic_ensemble import NoisyCriticEnsemble
from flowpolicy.modules.parts import (
    checked,
    require_critic,
    require_function,
    require_noisy_critic,
    require_path,
    require_same_size,
    require_time,
    require_trained,
)
from flowpolicy.paths.draws import Draw, Law
from flowpolicy.paths.linear import LinearPath
from flowpolicy.paths.path import Path
from flowpolicy.paths.times import UniformTime

EnsembleError = Callable[[Tensor, Tensor], Tensor]
"""``(values [E, *B, 1], targets [E, *B, 1]) -> [*B, 1]``."""


@final
class NoisyValueLoss(Loss):
    r"""Regresses the value of a noisy action on that of the data's action it becomes.

    .. math::
        L = c\,\Big\langle
            e\big(Q_k(s, x_t, t),\ \mathrm{sg}[\bar Q_k(s, a)]\big)\Big\rangle_B,\qquad
        x_0 \sim \mathcal N(0, I),\quad t \sim U[0, 1],\quad x_1 = a

    Every critic has its own target. With ``td_error`` the noisy value is the mean of what the noisy
    action may become, with ``LinexError(temperature)`` the soft maximum. Trains the critics. Reads
    ``observation`` ``[*B, O]``, ``action`` ``[*B, A]``, and where present ``x0`` ``[*B, A]`` and
    ``time`` ``[*B, 1]``; beside a flow-matching loss give it keys of its own with ``set_keys``.
    Metrics: ``noisy_value_mean`` and ``noisy_value_target``.

    Args:
        critic: the critics to train.
        target: the critics in the target, usually ``TargetNetwork(critic)``.
        error: of every critic against its target: ``td_error`` or a ``LinexError``.
        path: from noise to data.
        time: the law of ``t``.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind or size, a negative coefficient, or an unknown
            reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> critic = fp.NoisyCriticEnsemble(3, 2, hidden=(16,))
        >>> loss = fp.NoisyValueLoss(critic, fp.TargetNetwork(critic), error=fp.LinexError(0.1))
        >>> loss.set_keys(x0="noisy_x0", time="noisy_time")
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_noisy_value"].backward()

    Source: CGQL-M and CGQL-L in Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv
    2601.14234, and its released code.
    """

    role = "critic"
    of_data_action = True
    metrics: ClassVar[tuple[str, ...]] = ("mean", "target")

    def __init__(
        self,
        critic: NoisyCriticEnsemble,
        target: Critic,
        *,
        error: EnsembleError = td_error,
        path: Path | None = None,
        time: Law | None = None,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "noisy_value",
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        require_noisy_critic("NoisyValueLoss", "critic", critic)
        require_trained("NoisyValueLoss", "critic", critic)
        require_critic("NoisyValueLoss", "target", target)
        require_sizes_match("NoisyValueLoss", critic=critic, target=target)
        require_same_size("NoisyValueLoss", critic=critic, target=target)
        require_function("NoisyValueLoss", "error", error, "functional.td_error")
        self.critic = critic
        self.target = frozen(target)
        self.error = error
        self.path = LinearPath() if path is None else path
        self.time = UniformTime() if time is None else time
        require_path("NoisyValueLoss", self.path)
        require_time("NoisyValueLoss", self.time)

    @property
    def network(self) -> nn.Module:
        """The critics."""
        return self.critic

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The path's noise end and the time."""
        return noise_and_time(self.tensor_keys, self.critic.act_dim, self.time)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The error of all critics, ``[*B, 1]``."""
        x_t = evaluated.path_sample(self.critic, self.path).x_t
        time = evaluated.time(self.critic)
        values = self.critic.values_at(evaluated.observation(self.critic), x_t, time)
        checked(self.critic, "values_at", values, (*evaluated.batch_shape, 1), ensemble=True)
        targets = evaluated.data_values(self.target).detach()
        metrics = {"mean": values.detach().mean(), "target": targets.mean()}
        return self.error(values, targets), metrics
