"""Losses that do not count in every update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from flowpolicy.errors import ConfigError, require_at_least, unknown_name
from flowpolicy.losses.sum import SumLoss


@final
class Delays:
    """Which losses count in which update.

    Args:
        loss: all losses.
        every: losses that count only in every n-th update, by name.

    Raises:
        ConfigError: an unknown loss, a number below 1, or no loss that counts in every update.
    """

    def __init__(self, loss: SumLoss, every: Mapping[str, int]) -> None:
        names = [each.name for each in loss.losses]
        for name, n in every.items():
            if name not in names:
                raise unknown_name("loss in every", name, names)
            require_at_least("Agent", f"every[{name!r}]", n, 1)
        if all(every.get(name, 1) > 1 for name in names):
            raise ConfigError(
                f"Agent: every={dict(every)} leaves updates without any loss. At least one loss "
                "must count in every update."
            )
        self.every = dict(every)
        self._loss = loss
        self._partial: dict[tuple[str, ...], SumLoss] = {}

    def due(self, update: int) -> SumLoss:
        """The losses of the ``update``-th update, counted from 1."""
        names = tuple(
            each.name for each in self._loss.losses if update % self.every.get(each.name, 1) == 0
        )
        if len(names) == len(self._loss.losses):
            return self._loss
        if names not in self._partial:
            losses = [each for each in self._loss.losses if each.name in names]
            self._partial[names] = SumLoss(losses, self._loss.actor_network)
        return self._partial[names]
