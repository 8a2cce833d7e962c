"""Turning a diffusion towards the critics' gradient."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.errors import require_sizes_match
from flowpolicy.functional.action_gradient import action_gradient
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.functional.score import ScoreError
from flowpolicy.losses.base import Reduction
from flowpolicy.losses.predictor_loss import PredictorLoss
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.noise_predictor import NoisePredictor
from flowpolicy.modules.parts import (
    require_aggregation,
    require_critic,
    require_differentiable,
    require_function,
    value_of,
)
from flowpolicy.paths.diffusion import VP_SCHEDULE
from flowpolicy.paths.draws import Law
from flowpolicy.paths.schedules import Schedule


@final
class CriticScoreLoss(PredictorLoss):
    r"""Makes the predicted noise follow the critics' gradient at the noisy action.

    .. math::
        L = c\,\big\langle e\big(\epsilon_\psi(s, x_t, t),\ G,\ \sigma_t\big)\big\rangle_B,\qquad
        G = \mathrm{sg}\big[\nabla_x\, \mathrm{agg}_k\, Q_k(s, x)\big]_{x = x_t}

    The critics see the noisy action as if it were clean. With ``QScoreError(temperature)`` the
    noise is regressed on the gradient (QSM), with ``noise_alignment`` it is pushed against it
    (DAC). Beside a ``NoiseMatchingLoss`` of the same schedule object, the predictor is asked once
    for both. Trains the predictor. Reads ``observation`` ``[*B, O]``, ``action`` ``[*B, A]``, and
    where present ``x0`` ``[*B, A]`` and ``time`` ``[*B, 1]``. Metric: ``score_gradient``, the mean
    of the gradient's absolute entries.

    Args:
        predictor: of the noise.
        critic: the critics, target critics in QSM and DAC.
        error: ``QScoreError(temperature)`` or ``noise_alignment``.
        schedule: the shares of data and noise.
        time: the law of ``t``; uniform over the predictor's steps where ``None``.
        aggregation: over the ensemble.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind or size, critics without a gradient in the action, a
            negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> critic = fp.CriticEnsemble(3, 2, hidden=(16,))
        >>> predictor = fp.NoisePredictor(3, 2, hidden=(16,), steps=10)
        >>> loss = fp.CriticScoreLoss(
        ...     predictor, fp.TargetNetwork(critic), error=fp.QScoreError(temperature=0.1)
        ... )
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_score"].backward()

    Source: QSM, arXiv 2312.11752, and DAC, arXiv 2405.20555, as in the released code of Li, Levine,
    "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234.

    Differences from the authors' code: it raises an invalid row's error to the power zero, which
    counts as one in the mean that is reported; here the row counts as zero. The gradients are the
    same.
    """

    metrics: ClassVar[tuple[str, ...]] = ("gradient",)

    def __init__(
        self,
        predictor: NoisePredictor,
        critic: Critic,
        *,
        error: ScoreError,
        schedule: Schedule = VP_SCHEDULE,
        time: Law | None = None,
        aggregation: Aggregation = mean_value,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "score",
    ) -> None:
        super().__init__(
            predictor,
            name,
            schedule=schedule,
            time=time,
            coefficient=coefficient,
            reduction=reduction,
        )
        require_critic("CriticScoreLoss", "critic", critic)
        require_sizes_match("CriticScoreLoss", predictor=predictor, critic=critic)
        require_function("CriticScoreLoss", "error", error, "noise_alignment")
        require_aggregation("CriticScoreLoss", aggregation, critic)
        self.critic = frozen(critic)
        self.error = error
        self.aggregation = aggregation
        require_differentiable("CriticScoreLoss", "critic", critic, self._values)

    def _values(self, observation: Tensor, action: Tensor) -> Tensor:
        return value_of(self.critic, self.aggregation, observation, action)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The error of the noise against the gradient, ``[*B, 1]``."""
        observation = evaluated.observation(self.predictor)
        x_t = evaluated.noisy_action(self.predictor, self.schedule)
        gradient = action_gradient(lambda x: self._values(observation, x), x_t)
        predicted = evaluated.noise_prediction(self.predictor, self.schedule)
        sigma = self.schedule.at(evaluated.time(self.predictor)).sigma
        return self.error(predicted, gradient, sigma), {"gradient": gradient.abs().mean()}
