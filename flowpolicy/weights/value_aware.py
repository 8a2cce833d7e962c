"""GFP's weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from tensordict import NestedKey
from torch import Tensor

from flowpolicy.errors import ConfigError, require_sizes_match
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.functional.scale import Scale, inverse_mean_abs, unit_scale
from flowpolicy.functional.value_aware_weight import value_aware_weight
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.critic_ensemble import CriticEnsemble
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.modules.parts import (
    require_actor,
    require_aggregation,
    require_critic,
    require_function,
    require_reduction,
    scale_of,
)
from flowpolicy.modules.shared_noise import shared_noise
from flowpolicy.paths.draws import Draw
from flowpolicy.weights.weight import Weight


@final
class ValueAwareWeight(Weight):
    r"""Data actions that the critics value above the policy's count fully, those below hardly.

    .. math::
        g = \operatorname{sigmoid}\Big(\tfrac{\lambda}{\eta}
            \big(\bar Q(s, a) - \bar Q_\text{ref}(s)\big)\Big),\qquad
        \bar Q_\text{ref}(s) = \mathrm{combine}_p\, \bar Q(s, \mu_p(s, z)),\qquad
        \lambda = \mathrm{scale}\big(Q(s, \mu(s, z))\big)

    :math:`\bar Q` are the target critics, :math:`Q` the online ones, both aggregated over the
    ensemble. The reference is one actor, or several with the same noise and a ``combine``: the five
    options of the authors' code are ``reference=actor``, ``reference=flow``, and
    ``reference=(actor, flow)`` with ``min_value``, ``mean_value`` or ``max_value``, each with
    ``actor=actor``, whose actions set ``lambda`` there. Weights are not normalised over the batch.

    Args:
        values: the critics of both compared values, usually the target network.
        critic: the online critics, for ``lambda``.
        reference: whose action is the reference; several are combined.
        temperature: ``eta`` > 0: 0.1 is soft, 1e-3 moderate, 1e-5 nearly binary. A buffer:
            ``weight.temperature.fill_(x)`` changes it, also under compilation.
        actor: whose actions set ``lambda``; the first reference where ``None``.
        combine: how several references make one value.
        aggregation: over the ensemble.
        scale: what ``lambda`` is made with; ``unit_scale`` for none.

    Raises:
        ConfigError: a temperature that is not a finite number above 0 (use ``weight=None`` for no
            weighting), an empty reference, or actors with noise of several shapes.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> critic, actor = fp.CriticEnsemble(3, 2, hidden=(8,)), fp.OneStepActor(3, 2, hidden=(8,))
        >>> target = fp.TargetNetwork(critic)
        >>> weight = fp.ValueAwareWeight(target, critic=critic, reference=actor, temperature=0.1)
        >>> weight.weight(torch.randn(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 1])

    Source: Nguimatsia Tiofack et al., "Guided flow policy", ICLR 2026, arXiv 2512.03973.

    Differences from the authors' code: a temperature of 0, which there switches the weighting off,
    is refused.
    """

    temperature: Tensor

    def __init__(
        self,
        values: Critic,
        *,
        critic: CriticEnsemble,
        reference: Actor | Sequence[Actor],
        temperature: float,
        actor: Actor | None = None,
        combine: Aggregation = mean_value,
        aggregation: Aggregation = mean_value,
        scale: Scale = inverse_mean_abs,
    ) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ConfigError(
                "ValueAwareWeight: temperature must be a finite number above 0, got "
                f"{temperature!r}. For no weighting pass weight=None to FlowMatchingLoss."
            )
        references = tuple(reference) if isinstance(reference, Sequence) else (reference,)
        if not references:
            raise ConfigError("ValueAwareWeight: reference is empty; pass one actor or several.")
        for each in (*references, references[0] if actor is None else actor):
            require_actor("ValueAwareWeight", "reference", each)
            require_sizes_match("ValueAwareWeight", values=values, critic=critic, reference=each)
        require_critic("ValueAwareWeight", "values", values)
        require_critic("ValueAwareWeight", "critic", critic)
        require_reduction("ValueAwareWeight", "combine", combine, len(references), critic)
        require_aggregation("ValueAwareWeight", aggregation, values)
        require_function("ValueAwareWeight", "scale", scale, "inverse_mean_abs")
        self.values = frozen(values)
        self.critic = frozen(critic)
        self.references = tuple(frozen(each) for each in references)
        self.actor = frozen(actor if actor is not None else references[0])
        asked = (self.actor, *self.references)
        self.noise = shared_noise("ValueAwareWeight", "references and the actor", asked)
        self.combine = combine
        self.aggregation = aggregation
        self.scale = scale
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    @property
    def has_batch_statistic(self) -> bool:
        """Whether the scale is one."""
        return self.scale is not unit_scale

    def draws(self, keys: BatchKeys) -> Mapping[NestedKey, Draw]:
        """The noise that the actor and all references share, if they have any."""
        return {} if self.noise is None else {keys.noise: self.noise}

    def compute(self, evaluated: EvaluatedBatch) -> Tensor:
        """``[*B, 1]``; reuses the actor's action and the critics' values of it."""
        policy = self.aggregation(evaluated.policy_values(self.critic, self.actor))
        scale = scale_of("ValueAwareWeight", self.scale, policy)
        data = self.aggregation(evaluated.data_values(self.values))
        reference = self.combine(
            torch.stack(
                [
                    self.aggregation(evaluated.reference_values(self.values, each))
                    for each in self.references
                ]
            )
        )
        return value_aware_weight(data, reference, scale, self.temperature)
