"""What the losses of a noise predictor share."""

from __future__ import annotations

from collections.abc import Mapping

from tensordict import NestedKey
from torch import nn

from flowpolicy.errors import require_instance
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.drawing import noise_and_time
from flowpolicy.modules.noise_predictor import NoisePredictor
from flowpolicy.modules.parts import require_predictor, require_time, require_trained
from flowpolicy.paths.draws import Draw, Law
from flowpolicy.paths.schedules import Schedule
from flowpolicy.paths.times import StepTime


class PredictorLoss(Loss):
    """Trains a noise predictor at the data's action with noise mixed in.

    Args:
        predictor: of the noise.
        name: reported as ``loss_<name>``.
        schedule: the shares of data and noise.
        time: the law of ``t``; uniform over the predictor's steps where ``None``.
        coefficient: the loss's factor.
        reduction: over the batch.

    Raises:
        ConfigError: parts of the wrong kind, a negative coefficient, or an unknown reduction.
    """

    role = "predictor"
    of_data_action = True

    def __init__(
        self,
        predictor: NoisePredictor,
        name: str,
        *,
        schedule: Schedule,
        time: Law | None,
        coefficient: float,
        reduction: Reduction,
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        owner = type(self).__name__
        require_predictor(owner, "predictor", predictor)
        require_trained(owner, "predictor", predictor)
        hint = "Pass one such as fp.CosineSchedule()."
        require_instance(owner, "schedule", schedule, Schedule, hint)
        self.predictor = predictor
        self.schedule = schedule
        self.time = StepTime(predictor.steps) if time is None else time
        require_time(owner, self.time)

    @property
    def network(self) -> nn.Module:
        """The predictor."""
        return self.predictor

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The noise and the time."""
        return noise_and_time(self.tensor_keys, self.predictor.act_dim, self.time)
