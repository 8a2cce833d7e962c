"""Learning the critics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast, final

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, ShapeError, require_instance, require_sizes_match
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.functional.temporal_difference import td_error, td_target
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.losses.next_action_penalty import NextActionPenalty
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.critic_ensemble import CriticEnsemble
from flowpolicy.modules.drawing import with_draws
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.keys import next_key
from flowpolicy.modules.noisy_critic_ensemble import NoisyCriticEnsemble
from flowpolicy.modules.parts import (
    require_actor,
    require_aggregation,
    require_critic,
    require_reduction,
    require_trained,
    require_value,
    values_of,
)
from flowpolicy.modules.shared_noise import shared_noise
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.modules.value_network import ValueNetwork
from flowpolicy.paths.draws import Draw


@final
class TDLoss(Loss):
    r"""Regresses every critic on one shared Bellman target.

    .. math::
        L = c\,\Big\langle \tfrac1E \sum_k \big(Q_k(s, a) - y\big)^2\Big\rangle_B,\qquad
        y = \mathrm{sg}\big[r + \gamma^n (1 - \text{terminated})\, v'\big]

        v' = \mathrm{combine}_p\, \mathrm{agg}_k\, \bar Q_k(s', \mu_p(s', z'))
            \quad\text{or}\quad v' = V(s')

    Either ``target`` and ``next_actor`` are given, or ``next_value``. Several next actors share the
    noise ``z'``; critics are aggregated first, then a ``penalty`` of each policy's action is
    subtracted, then policies are combined. Trains the critics.
    Reads ``observation``, ``action``, ``("next", "observation")`` ``[*B, O]``, ``("next",
    "reward")`` and ``("next", "terminated")`` ``[*B, 1]``, and where present ``steps_to_next_obs``
    ``[*B, 1]`` (the ``n`` of an n-step row, 1 otherwise) and ``("next", "noise")``. Metrics:
    ``qvalue_mean``, ``qvalue_min``, ``qvalue_max`` of the data's actions, ``qvalue_next``, the mean
    of ``v'``, and ``qvalue_target``, the mean of ``y``.

    Args:
        critic: the critics to train.
        target: the critics in the target, usually ``TargetNetwork(critic)``.
        next_actor: whose action is valued at the next observation; several are combined.
        next_value: a state value to bootstrap from instead.
        discount: per environment step, in [0, 1].
        aggregation: over the target's ensemble: ``mean_value``, ``min_value`` or
            ``Pessimistic(rho)``.
        combine: how several next actors make one value.
        penalty: what each next action costs; nothing where ``None``.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind or size, not exactly one way to bootstrap, a discount
            outside [0, 1], a negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> critic, actor = (
        ...     fp.CriticEnsemble(3, 2, hidden=(16,)),
        ...     fp.OneStepActor(3, 2, hidden=(16,)),
        ... )
        >>> loss = fp.TDLoss(critic, fp.TargetNetwork(critic), next_actor=actor, discount=0.99)
        >>> step = {"observation": torch.randn(8, 3), "reward": -torch.ones(8, 1)}
        >>> step["terminated"] = torch.zeros(8, 1, dtype=torch.bool)
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), next=step, batch_size=[8]
        ... )
        >>> loss(batch)["loss_qvalue"].backward()

    Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538; with two next actors,
    the conservative target of Nguimatsia Tiofack et al., "Guided flow policy", ICLR 2026, arXiv
    2512.03973.
    """

    role = "critic"
    of_data_action = True
    metrics: ClassVar[tuple[str, ...]] = ("mean", "min", "max", "next", "target")

    def __init__(
        self,
        critic: CriticEnsemble | NoisyCriticEnsemble,
        target: Critic | None = None,
        *,
        next_actor: Actor | Sequence[Actor] | None = None,
        next_value: ValueNetwork | TargetNetwork | None = None,
        discount: float = 0.99,
        aggregation: Aggregation = mean_value,
        combine: Aggregation = mean_value,
        penalty: NextActionPenalty | None = None,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "qvalue",
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        if not 0 <= discount <= 1:
            raise ConfigError(f"TDLoss: discount must be in [0, 1], got {discount!r}.")
        if next_actor is None:
            next_actors: tuple[Actor, ...] = ()
        else:
            one = not isinstance(next_actor, Sequence)
            next_actors = (cast("Actor", next_actor),) if one else tuple(next_actor)
        for actor in next_actors:
            require_actor("TDLoss", "next_actor", actor)
        by_action, by_value = target is not None and bool(next_actors), next_value is not None
        if by_action == by_value or (target is None) == bool(next_actors):
            raise ConfigError(
                "TDLoss: bootstrap either from target=TargetNetwork(critic) with next_actor=..., "
                f"or from next_value=...; got target={type(target).__name__}, "
                f"{len(next_actors)} next actors, "
                f"next_value={type(next_value).__name__}."
            )
        if penalty is not None and by_value:
            raise ConfigError(
                "TDLoss: a penalty is for next actions, but next_value=... has none. Bootstrap "
                "from target=... and next_actor=..., or leave the penalty out."
            )
        require_critic("TDLoss", "critic", critic)
        require_trained("TDLoss", "critic", critic)
        if target is not None:
            require_critic("TDLoss", "target", target)
        if next_value is not None:
            require_value("TDLoss", "next_value", next_value)
        parts: dict[str, nn.Module] = {
            f"next_actor {i}": each for i, each in enumerate(next_actors)
        }
        optional = {"target": target, "next_value": next_value}
        parts |= {name: part for name, part in optional.items() if part is not None}
        require_sizes_match("TDLoss", critic=critic, **parts)
        require_aggregation("TDLoss", aggregation, target)
        require_reduction("TDLoss", "combine", combine, len(next_actors) or 1, critic)
        if penalty is not None:
            hint = "Pass fp.NextActionPenalty(coefficient)."
            require_instance("TDLoss", "penalty", penalty, NextActionPenalty, hint)
        self.critic = critic
        self.target = None if target is None else frozen(target)
        self.next_actors = tuple(frozen(actor) for actor in next_actors)
        self.noise = shared_noise("TDLoss", "next actors", next_actors)
        self.next_value = None if next_value is None else frozen(next_value)
        self.discount = discount
        self.aggregation = aggregation
        self.combine = combine
        self.penalty = penalty

    @property
    def network(self) -> nn.Module:
        """The critics."""
        return self.critic

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """A transition; and what the penalty reads."""
        keys = self.tensor_keys
        return (
            keys.observation,
            keys.action,
            next_key(keys.observation),
            next_key(keys.reward),
            next_key(keys.terminated),
            *(() if self.penalty is None else self.penalty.reads(keys)),
        )

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The noise that all next actors share, if they have any."""
        return {} if self.noise is None else {next_key(self.tensor_keys.noise): self.noise}

    @torch.no_grad()
    def next_values(self, evaluated: EvaluatedBatch) -> Tensor:
        """``v'``, ``[*B, 1]``."""
        if self.next_value is not None:
            return evaluated.next_state_values(self.next_value)
        actions = torch.stack([evaluated.next_action(actor) for actor in self.next_actors])
        observation = evaluated.next_observation(self.critic).expand(*actions.shape[:-1], -1)
        values = values_of(cast("Critic", self.target), observation, actions)
        values = self.aggregation(values)
        if self.penalty is not None:
            values = values - self.penalty.of(evaluated, actions)
        return self.combine(values)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error averaged over the ensemble, ``[*B, 1]``."""
        keys = self.tensor_keys
        steps = evaluated.batch.get(keys.steps, None)
        next_value = self.next_values(evaluated)
        target = td_target(
            evaluated.read("TDLoss", next_key(keys.reward), 1),
            evaluated.read("TDLoss", next_key(keys.terminated), 1),
            next_value,
            self.discount,
            None if steps is None else self._steps(evaluated),
        )
        values = evaluated.data_values(self.critic)
        metrics = {
            "mean": values.detach().mean(),
            "min": values.detach().amin(),
            "max": values.detach().amax(),
            "next": next_value.mean(),
            "target": target.mean(),
        }
        return td_error(values, target), metrics

    @torch.no_grad()
    def td_errors(self, batch: TensorDictBase) -> Tensor:
        r"""How wrong the critics are at each row, as a prioritized replay buffer wants to know.

        .. math:: \delta = \sqrt{\tfrac1E \textstyle\sum_k \big(Q_k(s, a) - y\big)^2}

        A pass of its own through critics, target and next actor, since the losses of an update are
        numbers of the whole batch::

            batch = buffer.sample()
            agent.update(batch)
            batch["td_error"] = loss.td_errors(batch)
            buffer.update_tensordict_priority(batch)

        Args:
            batch: as the loss takes it; not written. Neither weights nor masks count.

        Returns:
            ``[*B]``, in units of the reward.
        """
        drawn = with_draws(batch, self.draws(), self.tensor_keys)
        squared, _ = self.per_sample(EvaluatedBatch(drawn, self.tensor_keys))
        return squared.sqrt().squeeze(-1)

    def _steps(self, evaluated: EvaluatedBatch) -> Tensor:
        """The ``n`` of each row, ``[*B, 1]``."""
        key = self.tensor_keys.steps
        if evaluated.batch.get(key).shape == evaluated.batch_shape:
            raise ShapeError(
                f"TDLoss: {key!r} must be [*B, 1], got {list(evaluated.batch_shape)}, as TorchRL's "
                "MultiStep writes it. That leaves ('next', 'terminated') of each window's first "
                "step, so that values beyond a terminal state would be learned from; make windows "
                "with flowpolicy.data.transforms.n_step."
            )
        return evaluated.read("TDLoss", key, 1)
