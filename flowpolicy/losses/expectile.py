"""Learning a state value above the average action."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_sizes_match
from flowpolicy.functional.aggregation import Aggregation, min_value
from flowpolicy.functional.expectile import expectile_error
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.parts import (
    require_aggregation,
    require_critic,
    require_trained,
    require_value,
)
from flowpolicy.modules.value_network import ValueNetwork


@final
class ExpectileLoss(Loss):
    r"""Regresses the state's value on an upper expectile of the data actions' values.

    .. math::
        L = c\,\big\langle
            |\kappa - \mathbb 1[q < V_\psi(s)]|\,(q - V_\psi(s))^2\big\rangle_B,\qquad
        q = \mathrm{sg}[\mathrm{agg}_k\, \bar Q_k(s, a)]

    Trains the value. Reads ``observation`` ``[*B, O]`` and ``action`` ``[*B, A]``. Metrics:
    ``value_mean``, ``value_min``, ``value_max`` and ``value_target``, the mean of ``q``.

    Args:
        value: the state value to train.
        target: the critics, target critics in IQL and IFQL.
        expectile: ``kappa`` in (0, 1).
        aggregation: over the ensemble.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind or size, an expectile outside (0, 1), a negative
            coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> critic = fp.CriticEnsemble(3, 2, hidden=(16,))
        >>> loss = fp.ExpectileLoss(
        ...     fp.ValueNetwork(3, hidden=(16,)), fp.TargetNetwork(critic), expectile=0.9
        ... )
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_value"].backward()

    Source: Kostrikov, Nair, Levine, "Offline reinforcement learning with implicit Q-learning",
    2021, arXiv 2110.06169.
    """

    role = "value"
    of_data_action = True
    metrics: ClassVar[tuple[str, ...]] = ("mean", "min", "max", "target")

    def __init__(
        self,
        value: ValueNetwork,
        target: Critic,
        *,
        expectile: float = 0.9,
        aggregation: Aggregation = min_value,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "value",
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        if not 0 < expectile < 1:
            raise ConfigError(f"ExpectileLoss: expectile must be in (0, 1), got {expectile!r}.")
        require_value("ExpectileLoss", "value", value)
        require_trained("ExpectileLoss", "value", value)
        require_critic("ExpectileLoss", "target", target)
        require_sizes_match("ExpectileLoss", value=value, target=target)
        require_aggregation("ExpectileLoss", aggregation, target)
        self.value = value
        self.target = frozen(target)
        self.expectile = expectile
        self.aggregation = aggregation

    @property
    def network(self) -> nn.Module:
        """The value."""
        return self.value

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The asymmetric squared error, ``[*B, 1]``."""
        target = self.aggregation(evaluated.data_values(self.target)).detach()
        value = evaluated.state_values(self.value)
        metrics = {
            "mean": value.detach().mean(),
            "min": value.detach().amin(),
            "max": value.detach().amax(),
            "target": target.mean(),
        }
        return expectile_error(value, target, self.expectile), metrics
