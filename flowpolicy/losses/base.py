"""What a loss is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, cast

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import dispatch
from torch import Tensor, nn
from torchrl.envs.utils import ExplorationType
from torchrl.objectives import LossModule

from flowpolicy.errors import ConfigError, ShapeError, require_not_negative
from flowpolicy.modules.drawing import with_draws
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.extra_tensors import ExtraTensors
from flowpolicy.modules.frozen import frozen, is_frozen, unfrozen
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.modules.parts import checked
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.paths.draws import Draw
from flowpolicy.ranks import count, is_spread, mean_over_ranks

Reduction = Literal["mean", "sum", "none"]


class Loss(ExtraTensors, LossModule):
    r"""Trains one network; reads every other through a ``frozen`` view.

    .. math:: L = c \cdot \mathrm{reduce}_B\, \ell(s, a, \ldots)

    A TorchRL ``LossModule`` with ordinary submodules: it goes into a ``Trainer`` as it is,
    ``set_keys`` renames what it reads, and its parameters are those of the one network that it
    trains. Called with a TensorDict, or with its ``in_keys`` as arguments, it returns a TensorDict
    without batch dimensions: ``loss_<name>`` with gradient, and metrics named ``<name>_...``
    without. Noise and time are read from the batch where present and drawn otherwise; the batch is
    never written.

    An implementation gives ``network``, ``per_sample`` and, where it needs them, ``draws`` and
    ``reads``. Moving a single loss concerns the network that it trains and no other; its state dict
    holds that network and the target networks that it reads, so that a ``Trainer`` resumes with
    them. ``Agent`` does both for all.

    Where the batch has an entry ``valid``, losses of the data's action count the other rows as zero
    (their chunks would leave the trajectory), in a mean over all rows as in QAM's code.

    Args:
        name: the loss is reported as ``loss_<name>``.
        coefficient: ``c``, at least 0. A buffer: ``loss.coefficient = 3.0`` changes it, also under
            compilation. Or a ``LearnedCoefficient``, which a ``DualLoss`` or ``SpreadLoss`` moves;
            the buffer is then a factor of 1 beside it.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` over the batch. The reduction leaves
            out rows that a validity mask of TorchRL's samplers marks, and counts priority weights;
            metrics are of all rows, valid or not, save the variance of a ``SpreadLoss``, and a
            scale over the batch refuses padded ones.

    Raises:
        ConfigError: a negative or non-finite coefficient, an unknown reduction, or a name that
            begins with ``loss``.
        MissingKeyError, ShapeError: a batch that lacks an entry or holds one of another shape, or
            a part of one's own that gives another shape (in use).
    """

    role: str
    """What the trained network is to the agent: its name in checkpoints unless the agent is told
    another."""

    _AcceptedKeys = BatchKeys
    default_keys = BatchKeys
    _schedulable_buffers = frozenset({"coefficient"})
    # LossModule would otherwise put policies into deterministic mode; noise is data here.
    deterministic_sampling_mode = ExplorationType.RANDOM

    of_data_action: bool = False
    """Whether it is about the action in the data, which may be an invalid chunk."""

    coefficient: Tensor
    metrics: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        *,
        coefficient: float | LearnedCoefficient = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.learned_coefficient: LearnedCoefficient | None = None
        if isinstance(coefficient, LearnedCoefficient):
            self.learned_coefficient = frozen(coefficient)
            coefficient = 1.0
        require_not_negative(type(self).__name__, "coefficient", coefficient)
        if reduction not in ("mean", "sum", "none"):
            raise ConfigError(
                f"{type(self).__name__}: reduction must be 'mean', 'sum' or 'none', got "
                f"{reduction!r}."
            )
        if name.startswith("loss"):
            raise ConfigError(
                f"{type(self).__name__}: name must not begin with 'loss', got {name!r}: what does "
                f"is summed as a loss, and {name}_... are metrics. Drop that part of it."
            )
        self.name = name
        self.reduction = reduction
        self.register_coeff_buffer("coefficient", float(coefficient))
        metrics = [*self.metrics, *(() if self.learned_coefficient is None else ("coefficient",))]
        self.out_keys = [f"loss_{name}", *(f"{name}_{metric}" for metric in metrics)]

    __repr__ = nn.Module.__repr__  # TensorDict's own leaves out extra_repr

    @property
    def functional(self) -> bool:
        """Parameters live in ordinary submodules."""
        return False

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The one network that this loss trains."""

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """The entries of the batch that it needs, in the order of its arguments."""
        return (self.tensor_keys.observation, self.tensor_keys.action)

    @property
    def in_keys(self) -> list[NestedKey]:
        """What it reads: the entries that it needs, then those that it would draw."""
        return [*self.reads, *self.draws()]

    @in_keys.setter
    def in_keys(self, value: list[NestedKey]) -> None:
        raise ConfigError(
            f"{type(self).__name__}: in_keys follow from the key names ({value!r} was given). "
            "Use set_keys."
        )

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The random entries of the batch, drawn where they are missing."""
        return {}

    @abstractmethod
    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each sample ``[*B, 1]``, and the ``metrics`` that fell off on the way."""

    def per_sample_once(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """``per_sample``, computed once for all who ask, refused where it is not ``[*B, 1]``."""

        def compute() -> tuple[Tensor, dict[str, Tensor]]:
            per_sample, metrics = self.per_sample(evaluated)
            return checked(self, "per_sample", per_sample, (*evaluated.batch_shape, 1)), metrics

        return evaluated.once(self, compute)

    def evaluate(self, evaluated: EvaluatedBatch) -> dict[str, Tensor]:
        """``loss_<name>`` and the metrics, from a batch that other losses share."""
        self._refuse_padding(evaluated.batch)
        evaluated = evaluated.using(self.tensor_keys)
        per_sample, metrics = self.per_sample_once(evaluated)
        if self.of_data_action:
            per_sample = self._without_invalid(evaluated, per_sample)
        if self.learned_coefficient is not None:
            coefficient = self.learned_coefficient()
            per_sample = coefficient.detach() * per_sample
            metrics = {**metrics, "coefficient": coefficient}
        reduced = self._reduced(
            per_sample, evaluated.batch, self._priority_weights(evaluated, per_sample)
        )
        return {
            f"loss_{self.name}": self.coefficient * reduced,
            **{f"{self.name}_{key}": value.detach() for key, value in metrics.items()},
        }

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """``loss_<name>`` and metrics of one batch."""
        batch = with_draws(tensordict, self.draws(), self.tensor_keys)
        evaluated = EvaluatedBatch(batch, self.tensor_keys, live=[self.network])
        return TensorDict(self.evaluate(evaluated), batch_size=[])

    @property
    def has_batch_statistic(self) -> bool:
        """Whether a number of the whole batch, such as lambda, enters the loss of each sample."""
        return False

    def _reduced(self, per_sample: Tensor, batch: TensorDictBase, weights: Tensor | None) -> Tensor:
        """Reduced over the batch; where that is spread, what averaged over the ranks is it."""
        masked = any(batch.get(key, None) is not None for key in self._loss_mask_keys())
        even = self.reduction == "mean" and weights is None and not masked
        if even or not is_spread():
            return cast("Tensor", self._reduce_loss(per_sample, batch, weights=weights))
        total = self._reduce_loss(per_sample, batch, weights=weights, reduction="sum")
        if self.reduction == "sum":
            return cast("Tensor", total * count())
        # Each rank holds as many rows, but not as many that count.
        ones = torch.ones_like(per_sample)
        rows = self._reduce_loss(ones, batch, weights=weights, reduction="sum")
        rows = mean_over_ranks(rows).clamp_min(torch.finfo(rows.dtype).tiny)
        return cast("Tensor", total / rows)

    def _priority_weights(self, evaluated: EvaluatedBatch, per_sample: Tensor) -> Tensor | None:
        # Not _maybe_get_priority_weight: it cannot look for a nested key.
        if self.use_prioritized_weights not in (True, "auto"):
            return None
        key = self.tensor_keys.priority_weight
        weights: Tensor | None = evaluated.batch.get(key, None)
        if weights is None:
            return None
        if weights.shape not in (per_sample.shape[:-1], per_sample.shape):
            raise ShapeError(
                f"{type(self).__name__}: {key!r} must be {list(per_sample.shape[:-1])}, a weight "
                f"for each row, got {list(weights.shape)}."
            )
        return weights.reshape(per_sample.shape)

    def _without_invalid(self, evaluated: EvaluatedBatch, per_sample: Tensor) -> Tensor:
        valid = evaluated.valid(type(self).__name__)
        return per_sample if valid is None else torch.where(valid, per_sample, 0.0)

    def _refuse_padding(self, batch: TensorDictBase) -> None:
        for key in self._loss_mask_keys():
            if self.has_batch_statistic and batch.get(key, None) is not None:
                raise ConfigError(
                    f"{type(self).__name__}: padded rows (marked by {key!r}) would enter its "
                    "scale. Pass the valid rows only and without the mark, "
                    f"batch[mask.squeeze(-1)].exclude({key!r}), or use scale=unit_scale."
                )

    def frozen_networks(self) -> Iterator[tuple[str, nn.Module]]:
        """The networks that it reads without training them, with the names of its arguments."""
        for module in self.modules():
            for name, value in vars(module).items():
                if is_frozen(value):
                    yield name, unfrozen(value)
                    continue
                several = tuple(value.values()) if isinstance(value, dict) else value
                # Not every iterable: a tensor would be iterated row by row, an iterator used up.
                for each in several if isinstance(several, tuple | list) else ():
                    if is_frozen(each):
                        yield name.removesuffix("s"), unfrozen(each)

    def target_networks(self) -> list[TargetNetwork]:
        """The target networks that it reads, also within samplers and actors, each once."""
        parts = [part for _, network in self.frozen_networks() for part in network.modules()]
        return list(dict.fromkeys(part for part in parts if isinstance(part, TargetNetwork)))

    def extra_tensors(self, prefix: str) -> dict[str, Tensor]:
        """Those of the target networks, by their names in the state dict."""
        tensors: dict[str, Tensor] = {}
        for i, target in enumerate(self.target_networks()):
            tensors |= target.state_dict(prefix=f"{prefix}target_networks.{i}.", keep_vars=True)
        return tensors

    def reset_parameters_recursive(self) -> None:
        """Initialise the trained network anew, layer by layer, as its constructor did."""
        for module in self.network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()

    def extra_repr(self) -> str:
        """Name, coefficient and reduction."""
        coefficient = float(self.coefficient)
        return f"name={self.name!r}, coefficient={coefficient:g}, reduction={self.reduction!r}"
