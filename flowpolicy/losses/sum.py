"""All losses of an agent as one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, cast

from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor, nn
from torchrl.envs.utils import ExplorationType
from torchrl.objectives import LossModule

from flowpolicy.errors import ConfigError
from flowpolicy.losses.base import Loss
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.drawing import Sample, missing_draws, with_entries
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.keys import BatchKeys, next_key
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.paths.draws import Draw


class SumLoss(LossModule):
    r"""Several losses on one batch; what they share is computed once.

    .. math:: L = \sum_i L_i

    A TorchRL ``LossModule``: its output holds every ``loss_<name>`` and metric, and a ``Trainer``
    sums the losses. The order of the losses does not matter. It does not own the networks that its
    losses only read: move or cast the agent, not its loss.

    Args:
        losses: with different names.
        policy: what is deployed, as ``actor_network``, the name by which TorchRL finds it.

    Raises:
        ConfigError: two losses of one name, no loss, or draws that contradict each other.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> field, actor = fp.VelocityField(3, 2, hidden=(16,)), fp.OneStepActor(3, 2, hidden=(16,))
        >>> distill = fp.DistillLoss(actor, teacher=fp.EulerSampler(field, steps=2))
        >>> loss = fp.SumLoss([fp.FlowMatchingLoss(field), distill], policy=actor)
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> sorted(loss(batch).keys())
        ['distill_error', 'loss_distill', 'loss_flow']
    """

    _AcceptedKeys = BatchKeys
    default_keys = BatchKeys
    deterministic_sampling_mode = ExplorationType.RANDOM

    losses: Sequence[Loss]

    def __init__(self, losses: Sequence[Loss], policy: Actor) -> None:
        super().__init__()
        if not losses:
            raise ConfigError("SumLoss: at least one loss is needed.")
        names = [loss.name for loss in losses]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"SumLoss: two losses are named {name!r}; give one of them another name with "
                    "name=... in its constructor."
                )
        for loss in losses:
            if loss.reduction == "none":
                raise ConfigError(
                    f"SumLoss: {loss.name!r} has reduction='none', but a sum needs one "
                    "number of each loss. Use 'mean' or 'sum'."
                )
            for module in loss.modules():
                if isinstance(module, TargetNetwork):
                    raise ConfigError(
                        f"SumLoss: {loss.name!r} holds a TargetNetwork as a submodule, as if it "
                        "trained it. Hold it as frozen(target)."
                    )
        self.actor_network = policy
        self.losses = cast("Sequence[Loss]", nn.ModuleList(losses))
        self.draws()  # refuses contradictions now rather than in the first update

    @property
    def functional(self) -> bool:
        """Parameters live in ordinary submodules."""
        return False

    @property
    def loss_mask_key(self) -> NestedKey | Literal["auto"] | None:
        """The entry that marks the rows that count, as TorchRL has it; set for every loss."""
        return self.losses[0].loss_mask_key

    @loss_mask_key.setter
    def loss_mask_key(self, value: NestedKey | Literal["auto"] | None) -> None:
        for loss in self.losses:
            loss.loss_mask_key = value

    @property
    def use_prioritized_weights(self) -> str | bool:
        """Whether priority weights count, as TorchRL has it; set for every loss."""
        return cast("str | bool", self.losses[0].use_prioritized_weights)

    @use_prioritized_weights.setter
    def use_prioritized_weights(self, value: str | bool) -> None:
        for loss in self.losses:
            loss.use_prioritized_weights = value

    @property
    def in_keys(self) -> list[NestedKey]:
        """What any of the losses reads."""
        return list(dict.fromkeys(key for loss in self.losses for key in loss.in_keys))

    @property
    def out_keys(self) -> list[NestedKey]:
        """What all of the losses write."""
        return [key for loss in self.losses for key in loss.out_keys]

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The random entries of the batch; different ones under one key are refused."""
        merged: dict[NestedKey, Draw] = {}
        for loss in self.losses:
            for key, draw in loss.draws().items():
                if merged.setdefault(key, draw) != draw:
                    names = vars(loss.tensor_keys).items()
                    own = [f"{name}=..." for name, own in names if key in (own, next_key(own))]
                    raise ConfigError(
                        f"SumLoss: the losses draw {key!r} differently: {merged[key]} and, in "
                        f"{loss.name!r}, {draw}. Give one of them another key with "
                        f"loss.set_keys({', '.join(own)})."
                    )
        return merged

    def due(self, only: Collection[str] | None) -> list[Loss]:
        """The losses named in ``only``, all where ``None``."""
        return [loss for loss in self.losses if only is None or loss.name in only]

    def with_draws(
        self,
        batch: TensorDictBase,
        sample: Sample = Draw.like,
        only: tuple[str, ...] | None = None,
    ) -> TensorDictBase:
        """The batch with every draw that it lacks: a shallow copy, the caller's is not written.

        Args:
            batch: with the observation of each loss.
            sample: gives a draw for an observation.
            only: the losses that draw, by name; all where ``None``.
        """
        drawn: dict[NestedKey, Tensor] = {}
        for loss in self.due(only):
            others = {key: draw for key, draw in loss.draws().items() if key not in drawn}
            drawn |= missing_draws(batch, others, loss.tensor_keys, sample)
        return with_entries(batch, drawn)

    def set_keys(self, **kwargs: NestedKey | None) -> None:
        """Rename entries of the batch for all losses but those that read another one already."""
        before = self.tensor_keys
        shared = {name: getattr(before, name, None) for name in kwargs}
        super().set_keys(**kwargs)
        for loss in self.losses:
            own = loss.tensor_keys
            loss.set_keys(**{k: v for k, v in kwargs.items() if getattr(own, k) == shared[k]})

    def target_networks(self) -> list[TargetNetwork]:
        """The target networks that the losses read or the policy holds, each once."""
        read = [target for loss in self.losses for target in loss.target_networks()]
        held = [m for m in self.actor_network.modules() if isinstance(m, TargetNetwork)]
        return list(dict.fromkeys([*read, *held]))

    def trained(self) -> Iterator[tuple[str, nn.Module]]:
        """The networks that the losses train, with their roles."""
        for loss in self.losses:
            yield loss.role, loss.network

    def forward(
        self, tensordict: TensorDictBase, only: tuple[str, ...] | None = None
    ) -> TensorDictBase:
        """Every loss and metric of one batch, ``[]`` each; or of the losses named in ``only``."""
        losses = self.due(only)
        batch = self.with_draws(tensordict, only=only)
        evaluated = EvaluatedBatch(batch, self.tensor_keys, live=[loss.network for loss in losses])
        results = {}
        for loss in losses:
            results.update(loss.evaluate(evaluated))
        return TensorDict(results, batch_size=[])
