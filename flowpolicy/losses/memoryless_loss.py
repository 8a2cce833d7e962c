"""What the losses share that fine-tune a flow on memoryless paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tensordict import NestedKey
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_at_least, require_positive, require_sizes_match
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen, unfrozen
from flowpolicy.modules.parts import (
    require_aggregation,
    require_critic,
    require_differentiable,
    require_field,
    require_trained,
    value_of,
)
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.modules.velocity_field import VelocityField
from flowpolicy.paths.draws import Draw
from flowpolicy.samplers.memoryless_sde import MemorylessSDE


class MemorylessLoss(Loss):
    r"""Turns a field away from its base, towards ends of memoryless paths that critics value.

    .. math:: \pi_\theta(a \mid s) \propto \pi_\beta(a \mid s)\,\exp\big(Q(s, a) / \eta\big)

    is what its implementations aim at, with the temperature ``eta``. The paths are those of the
    trained field, their last step that of the base. They are right for a base that was trained on
    ``LinearPath``. Trains the field.

    Args:
        field: the velocity field to train.
        base: the field that it starts from or stays near, e.g. the target of the cloned one;
            trained on ``LinearPath``.
        critic: whose values are to be raised.
        temperature: ``eta``, above 0. A buffer, as the coefficient.
        steps: ``T``.
        aggregation: over the ensemble.
        coefficient: the loss's factor.
        reduction: over the batch.
        name: reported as ``loss_<name>``; ``default_name`` where ``None``.

    Raises:
        ConfigError: parts of the wrong kind or of different sizes, critics that are not
            differentiable in the action, a base that is the trained field itself, a
            temperature that is not above 0, ``steps`` that is no whole number of at least 1, a
            negative coefficient, or an unknown reduction.
    """

    role = "field"
    default_name: ClassVar[str]
    least_steps: ClassVar[int] = 1
    temperature: Tensor
    _schedulable_buffers = frozenset({"coefficient", "temperature"})

    def __init__(
        self,
        field: VelocityField,
        base: VelocityField | TargetNetwork,
        critic: Critic,
        *,
        temperature: float,
        steps: int = 10,
        aggregation: Aggregation = mean_value,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str | None = None,
    ) -> None:
        name = self.default_name if name is None else name
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        owner = type(self).__name__
        require_at_least(owner, "steps", steps, self.least_steps)
        require_field(owner, "field", field)
        require_trained(owner, "field", field)
        require_field(owner, "base", base)
        require_critic(owner, "critic", critic)
        require_aggregation(owner, aggregation, critic)
        require_sizes_match(owner, field=field, base=base, critic=critic)
        if unfrozen(base) is field:
            raise ConfigError(
                f"{owner}: base is the trained field itself, so nothing would hold it. Pass the "
                "field that clones the data, or its TargetNetwork."
            )
        self.register_coeff_buffer(
            "temperature", require_positive(owner, "temperature", temperature)
        )
        self.field = field
        self.base = frozen(base)
        self.critic = frozen(critic)
        self.aggregation = aggregation
        require_differentiable(owner, "critic", critic, self.value)
        # In a tuple: asked, not registered as a submodule.
        self._sde = (MemorylessSDE(field, end=unfrozen(base), steps=steps),)

    @property
    def sde(self) -> MemorylessSDE:
        """The field with its random paths."""
        return self._sde[0]

    @property
    def network(self) -> nn.Module:
        """The field."""
        return self.field

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """The observation."""
        return (self.tensor_keys.observation,)

    def value(self, observation: Tensor, action: Tensor) -> Tensor:
        """What the critics say, aggregated: ``[*B, O], [*B, A] -> [*B, 1]``."""
        return value_of(self.critic, self.aggregation, observation, action)

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The start and the steps' noises of each path."""
        return {self.tensor_keys.path_noise: self.sde.noise_draw}

    def path_noise(self, evaluated: EvaluatedBatch) -> Tensor:
        """``[*B, T, A]``."""
        return evaluated.noise(self.tensor_keys.path_noise, self.sde)
