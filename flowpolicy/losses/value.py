"""Learning a state value as the mean over the data's actions."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from flowpolicy.errors import require_sizes_match
from flowpolicy.functional.temporal_difference import td_error
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.parts import require_critic, require_trained, require_value
from flowpolicy.modules.value_network import ValueNetwork


@final
class ValueLoss(Loss):
    r"""Regresses the state's value on what every critic says of the data's action.

    .. math::
        L = c\,\Big\langle \tfrac1E \sum_k
            \big(\mathrm{sg}[\bar Q_k(s, a)] - V_\psi(s)\big)^2\Big\rangle_B

    Its minimiser is the mean over critics and data actions: the value of who made the data. Trains
    the value. Reads ``observation`` ``[*B, O]`` and ``action`` ``[*B, A]``. Metrics:
    ``value_mean``, ``value_min``, ``value_max`` and ``value_target``, the mean over the critics.

    Args:
        value: the state value to train.
        target: the critics, target critics in FAWAC.
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
        >>> critic = fp.CriticEnsemble(3, 2, hidden=(16,))
        >>> loss = fp.ValueLoss(fp.ValueNetwork(3, hidden=(16,)), fp.TargetNetwork(critic))
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_value"].backward()

    Source: FAWAC in the released code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026,
    arXiv 2601.14234.
    """

    role = "value"
    of_data_action = True
    metrics: ClassVar[tuple[str, ...]] = ("mean", "min", "max", "target")

    def __init__(
        self,
        value: ValueNetwork,
        target: Critic,
        *,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "value",
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        require_value("ValueLoss", "value", value)
        require_trained("ValueLoss", "value", value)
        require_critic("ValueLoss", "target", target)
        require_sizes_match("ValueLoss", value=value, target=target)
        self.value = value
        self.target = frozen(target)

    @property
    def network(self) -> nn.Module:
        """The value."""
        return self.value

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error averaged over the ensemble, ``[*B, 1]``."""
        targets = evaluated.data_values(self.target).detach()
        value = evaluated.state_values(self.value)
        metrics = {
            "mean": value.detach().mean(),
            "min": value.detach().amin(),
            "max": value.detach().amax(),
            "target": targets.mean(),
        }
        return td_error(targets, value), metrics
