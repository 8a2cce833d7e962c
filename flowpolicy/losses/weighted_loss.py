"""What the losses share that clone some actions of the data more than others."""

from __future__ import annotations

from collections.abc import Mapping

from tensordict import NestedKey
from torch import Tensor

from flowpolicy.errors import ShapeError, require_instance
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.paths.draws import Draw
from flowpolicy.weights.weight import Weight


class WeightedLoss(Loss):
    r"""Counts each sample as much as a weight says.

    .. math:: L = c\,\big\langle g(s, a)\,\ell(s, a)\big\rangle_B

    Args:
        name: reported as ``loss_<name>``.
        weight: ``g``, how much each data action counts; all alike where ``None``. Its mean is the
            metric ``<name>_weight``.
        coefficient: ``c``.
        reduction: over the batch.

    Raises:
        ConfigError: what is no weight, a negative coefficient, or an unknown reduction.
    """

    of_data_action = True

    def __init__(
        self,
        name: str,
        *,
        weight: Weight | None,
        coefficient: float | LearnedCoefficient,
        reduction: Reduction,
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        if weight is not None:
            hint = "Pass fp.AdvantageWeight, fp.ValueAwareWeight, or derive one from fp.Weight."
            require_instance(type(self).__name__, "weight", weight, Weight, hint)
        self.weight = weight
        if weight is not None:
            self.out_keys = [*self.out_keys, f"{name}_weight"]

    @property
    def has_batch_statistic(self) -> bool:
        """Whether the weight has one."""
        return self.weight is not None and self.weight.has_batch_statistic

    def draws(self) -> Mapping[NestedKey, Draw]:
        """What the weight draws."""
        return {} if self.weight is None else self.weight.draws(self.tensor_keys)

    def weighted(
        self, per_sample: Tensor, evaluated: EvaluatedBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each sample ``[*B, 1]`` times its weight, and the weight's mean."""
        if self.weight is None:
            return per_sample, {}
        weight = self.weight.of(evaluated)
        if weight.shape != per_sample.shape:
            raise ShapeError(
                f"{type(self.weight).__name__}: a weight must be {list(per_sample.shape)} here, "
                f"got {list(weight.shape)}. Per-sample scalars are [*B, 1]."
            )
        return weight * per_sample, {"weight": weight.mean()}
