"""A critic that is told how far its next action is from the data's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from tensordict import NestedKey
from torch import Tensor

from flowpolicy.errors import MissingKeyError, require_positive
from flowpolicy.functional.squared_error import squared_error
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.keys import BatchKeys, next_key


@final
@dataclass(frozen=True)
class NextActionPenalty:
    r"""What ``TDLoss`` takes off the next value where the next action is not the data's.

    .. math:: p = c\,\tfrac1A \|a' - a'_\text{data}\|^2

    The data's next action is ``("next", "action")``, which
    ``flowpolicy.data.transforms.with_next_action`` adds.

    Args:
        coefficient: ``c``, above 0; where a paper has the sum over the dimensions, its coefficient
            times ``A``.

    Raises:
        ConfigError: a coefficient that is not a finite number above 0.

    Example:
        >>> import flowpolicy as fp
        >>> NextActionPenalty(0.1).reads(fp.BatchKeys())
        (('next', 'action'),)

    Source: ReBRAC in Tarasov et al., "Revisiting the minimalist approach to offline reinforcement
    learning", 2023, arXiv 2305.09836.
    """

    coefficient: float

    def __post_init__(self) -> None:
        require_positive("NextActionPenalty", "coefficient", self.coefficient)

    def reads(self, keys: BatchKeys) -> tuple[NestedKey, ...]:
        """The data's next action."""
        return (next_key(keys.action),)

    def of(self, evaluated: EvaluatedBatch, action: Tensor) -> Tensor:
        """For next actions ``[..., *B, A]``: ``[..., *B, 1]``."""
        (key,) = self.reads(evaluated.keys)
        try:
            data = evaluated.read("NextActionPenalty", key, action.shape[-1])
        except MissingKeyError as error:
            raise MissingKeyError(
                f"{error} fp.data.transforms.with_next_action(dataset) adds it to data."
            ) from None
        return self.coefficient * squared_error(action, data)
