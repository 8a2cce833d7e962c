"""The weight of advantage-weighted regression."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from flowpolicy.errors import ConfigError, require_positive, require_sizes_match
from flowpolicy.functional.advantage_weight import advantage_weight
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.parts import (
    require_aggregation,
    require_critic,
    require_value,
)
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.modules.value_network import ValueNetwork
from flowpolicy.weights.weight import Weight


@final
class AdvantageWeight(Weight):
    r"""Data actions count by the exponential of their advantage.

    .. math:: g = \min\big\{e^{(\mathrm{agg}_k Q_k(s, a) - V(s))/\eta},\ g_\text{max}\big\}

    Args:
        critic: the critics, online in the authors' code.
        value: the state's value.
        temperature: ``eta`` > 0. Papers that multiply by an inverse temperature use ``1 / eta``.
        maximum: the largest weight, at least 1.
        aggregation: over the ensemble.

    Raises:
        ConfigError: a temperature that is not a finite number above 0, or a ``maximum`` below 1.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> critic, value = fp.CriticEnsemble(3, 2, hidden=(8,)), fp.ValueNetwork(3, hidden=(8,))
        >>> weight = fp.AdvantageWeight(critic, value, temperature=0.3)
        >>> weight.weight(torch.randn(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 1])

    Source: Peng et al., "Advantage-weighted regression", 2019, arXiv 1910.00177; for flows, FAWAC
    in Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """

    temperature: Tensor

    def __init__(
        self,
        critic: Critic,
        value: ValueNetwork | TargetNetwork,
        *,
        temperature: float,
        maximum: float = 100.0,
        aggregation: Aggregation = mean_value,
    ) -> None:
        super().__init__()
        require_positive("AdvantageWeight", "temperature", temperature)
        if not 1 <= maximum < float("inf"):
            raise ConfigError(
                f"AdvantageWeight: maximum must be finite and at least 1, got {maximum!r}."
            )
        require_critic("AdvantageWeight", "critic", critic)
        require_value("AdvantageWeight", "value", value)
        require_sizes_match("AdvantageWeight", critic=critic, value=value)
        require_aggregation("AdvantageWeight", aggregation, critic)
        self.critic = frozen(critic)
        self.value = frozen(value)
        self.maximum = maximum
        self.aggregation = aggregation
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def compute(self, evaluated: EvaluatedBatch) -> Tensor:
        """``[*B, 1]``; reuses the critics' and the value's results on the data."""
        value = self.aggregation(evaluated.data_values(self.critic))
        baseline = evaluated.state_values(self.value)
        return advantage_weight(value, baseline, self.temperature, self.maximum)
