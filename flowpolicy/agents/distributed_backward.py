"""From a batch to gradients, its rows shared out among several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from flowpolicy import ranks
from flowpolicy.agents.backward import CompiledBackward, EagerBackward, Trained
from flowpolicy.agents.gradient_norm import GRAD_NORM, gradient_norm
from flowpolicy.agents.loss_gradient import Only, total_loss


@final
class DistributedBackward:
    """Takes its rows of the batch, and averages gradients and metrics over all processes.

    Args:
        trained: which parameters get them.
        tensors: what must be the same on all ranks.
    """

    def __init__(
        self,
        trained: Trained,
        tensors: Callable[[], Iterable[tuple[str, Tensor]]],
    ) -> None:
        self.trained = trained
        self.tensors = tensors
        self.tripwire = ranks.Tripwire("update")

    def __call__(
        self, backward: EagerBackward | CompiledBackward, batch: TensorDictBase, only: Only
    ) -> TensorDictBase:
        """The metrics of the whole batch; the parameters have its gradients afterwards.

        Args:
            backward: from the rows to gradients.
            batch: all rows, with every draw.
            only: the losses that count; all where ``None``.
        """
        self.tripwire.check(lambda: chain(self.tensors(), _named(batch)))
        with ranks.spread_batch():
            metrics = backward(ranks.own_rows(batch), only)
        parameters = [p for _, p in self.trained(only) if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        names = list(metrics.keys())
        own = torch.stack([metrics[name] for name in names])
        table = own.new_zeros(ranks.count(), len(names))
        table[ranks.own()] = own
        table, *sums = ranks.sum_over_ranks([table, *gradients])
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total.div_(ranks.count())
        of_ranks = zip(names, table.unbind(1), strict=True)
        together = {name: _joined(name, of_each) for name, of_each in of_ranks}
        norms = torch._foreach_norm(sums)  # noqa: SLF001 (as torch's own clipping)
        together[GRAD_NORM] = gradient_norm(norms, total_loss(together))
        return TensorDict(together, [])


def _named(batch: TensorDictBase) -> Iterator[tuple[str, Tensor]]:
    for name, value in batch.flatten_keys(".").items():
        yield f"batch.{name}", value


def _joined(name: str, of_each: Tensor) -> Tensor:
    """The loss or metric of the whole batch from those of its equal parts."""
    if name.startswith("loss_"):  # whatever it is called
        return of_each.mean()
    if name.endswith("_min"):
        return of_each.amin()
    return of_each.amax() if name.endswith("_max") else of_each.mean()
