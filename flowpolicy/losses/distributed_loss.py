"""Losses of one's own training loop on several processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import signature
from typing import Any, final
from weakref import WeakSet

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from flowpolicy import ranks
from flowpolicy.errors import ConfigError, DistributedError
from flowpolicy.losses.base import Loss
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.frozen import unfrozen

# Buffers are never sent around; PyTorch 2.13 has another name for that.
_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel.__init__).parameters
_NO_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}

_distributed: WeakSet[nn.Module] = WeakSet()
"""Losses that may only be asked through their ``DistributedLoss``."""


@final
class DistributedLoss(nn.Module):
    r"""A loss whose gradients are averaged over the processes of ``torch.distributed``.

    .. math:: \nabla L = \frac1R \sum_{r=1}^{R} \nabla L_r

    Each process passes its own batch, all of one size, and after ``backward()`` holds the gradient
    of all rows together: also where rows are masked or weighted, and where a number of the whole
    batch, such as lambda, enters each row's loss (:func:`~flowpolicy.functional.batch_mean`). What
    it returns are the numbers of the own rows; ``loss_<name>`` averaged over the ranks are those of
    all.

    Gradients are exchanged by ``DistributedDataParallel``, which sees plain tensors and the trained
    networks alone. The loss itself refuses to be called from now on where there is gradient: its
    gradients would stay on one rank without a word. Everything else is the same on all ranks: build
    or load the networks alike, draw different rows, and noise from differently seeded
    generators. In the first calls and in every hundredth the ranks compare their networks and the
    sizes of their batches.

    An ``Agent`` needs none of this: ``agent.distribute()``.

    Args:
        loss: one loss, or the sum of several.
        find_unused_parameters: whether calls may leave losses out (``only=``), as for
            ``DistributedDataParallel``.

    Raises:
        ConfigError: no loss, or one that is not reduced to a number.
        DistributedError: there is no process group, or the ranks hold different networks or batches
            of different sizes.

    Example:
        >>> import flowpolicy as fp
        >>> loss = fp.FlowMatchingLoss(fp.VelocityField(3, 2, hidden=(16,)))
        >>> fp.DistributedLoss(loss)
        Traceback (most recent call last):
        flowpolicy.errors.DistributedError: DistributedLoss: there is no process group. Start ...
    """

    def __init__(self, loss: Loss | SumLoss, *, find_unused_parameters: bool = False) -> None:
        super().__init__()
        if not isinstance(loss, Loss | SumLoss):
            raise ConfigError(
                f"DistributedLoss: loss must be a Loss or SumLoss, got {type(loss).__name__}."
            )
        parts = tuple(loss.losses) if isinstance(loss, SumLoss) else (loss,)
        if any(part.reduction == "none" for part in parts):
            raise ConfigError(
                "DistributedLoss: reduction='none' leaves nothing to average. Use 'mean' or 'sum'."
            )
        ranks.require_group("DistributedLoss")
        self.__dict__["_parts"] = parts  # not registered: only what they train is
        ranks.require_same(self.tensors(), "when DistributedLoss was built")
        self._parallel = DistributedDataParallel(
            _PlainTensors(loss, parts),
            **_NO_BUFFERS,
            find_unused_parameters=find_unused_parameters,
        )
        self._tripwire = ranks.Tripwire("call of DistributedLoss")
        for module in {loss, *parts} - set(_distributed):
            module.register_forward_pre_hook(_refuse)
            _distributed.add(module)

    def forward(
        self, tensordict: TensorDictBase, only: tuple[str, ...] | None = None
    ) -> TensorDictBase:
        """Losses and metrics of this rank's rows, ``[]`` each.

        Args:
            tensordict: the rows, as many on every rank.
            only: the losses of the sum that count; all where ``None``.
        """
        self._tripwire.check(
            lambda: (*self.tensors(), ("the batch size", torch.tensor(tensordict.batch_size)))
        )
        with ranks.spread_batch():
            results: dict[str, Tensor] = self._parallel(tensordict, only)
        return TensorDict(results, batch_size=[])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors of all networks that are trained or read, each once, with names."""
        seen: set[int] = set()
        for part in self.__dict__["_parts"]:
            networks = [(part.role, part.network), *part.frozen_networks(), ("loss", part)]
            for role, network in networks:
                yield from _unseen(f"{part.name}.{role}", unfrozen(network), seen)


@final
class _PlainTensors(nn.Module):
    """What ``DistributedDataParallel`` wraps: the trained networks, and tensors as results."""

    def __init__(self, loss: Loss | SumLoss, parts: Iterable[Loss]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(dict.fromkeys(part.network for part in parts))
        self.__dict__["loss"] = loss

    def forward(self, batch: TensorDictBase, only: tuple[str, ...] | None) -> dict[str, Tensor]:
        loss = self.__dict__["loss"]
        results = loss(batch) if only is None else loss(batch, only)
        return dict(results.items())


def _unseen(prefix: str, network: nn.Module, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    for named in (network.named_parameters, network.named_buffers):
        for name, tensor in named(prefix):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor


def _refuse(module: nn.Module, _: Any) -> None:
    """Before a loss is called: not around its ``DistributedLoss`` where gradient would flow."""
    if module in _distributed and torch.is_grad_enabled() and not ranks.is_spread():
        raise DistributedError(
            f"{type(module).__name__}: it belongs to a DistributedLoss now, and called by itself "
            "its gradients would stay on one rank. Call the DistributedLoss, or use "
            "torch.no_grad()."
        )
