"""Cloning the data with a diffusion."""

from __future__ import annotations

from typing import final

from torch import Tensor

from flowpolicy.functional.squared_error import squared_error
from flowpolicy.losses.base import Reduction
from flowpolicy.losses.predictor_loss import PredictorLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.noise_predictor import NoisePredictor
from flowpolicy.paths.diffusion import VP_SCHEDULE
from flowpolicy.paths.draws import Law
from flowpolicy.paths.schedules import Schedule


@final
class NoiseMatchingLoss(PredictorLoss):
    r"""Regresses a noise predictor on the noise that was mixed into the data's action.

    .. math::
        L = c\,\Big\langle \tfrac1A \big\|\epsilon_\psi(s, x_t, t) - x_0\big\|^2\Big\rangle_B,\qquad
        x_t = \alpha_t\,a + \sigma_t\,x_0,\quad x_0 \sim \mathcal N(0, I)

    The mean over the action dimensions. Trains the predictor. Reads ``observation`` ``[*B, O]``,
    ``action`` ``[*B, A]``, and where present ``x0`` ``[*B, A]`` and ``time`` ``[*B, 1]``.

    Args:
        predictor: of the noise.
        schedule: the shares of data and noise.
        time: the law of ``t``; uniform over the predictor's steps where ``None``.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind, a negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> loss = fp.NoiseMatchingLoss(fp.NoisePredictor(3, 2, hidden=(16,), steps=10))
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_denoise"].backward()

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239.
    """

    def __init__(
        self,
        predictor: NoisePredictor,
        *,
        schedule: Schedule = VP_SCHEDULE,
        time: Law | None = None,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "denoise",
    ) -> None:
        super().__init__(
            predictor,
            name,
            schedule=schedule,
            time=time,
            coefficient=coefficient,
            reduction=reduction,
        )

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of the noise, ``[*B, 1]``."""
        found = evaluated.noise_prediction(self.predictor, self.schedule)
        return squared_error(found, evaluated.x0(self.predictor)), {}
