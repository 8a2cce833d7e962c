"""Updates that are skipped because their numbers are not finite, and their count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from flowpolicy.agents.gradient_norm import GRAD_NORM
from flowpolicy.agents.guarded_step import Condition, Step, by_device

SKIPPED, IN_A_ROW = "skipped", "skipped_in_a_row"


@final
class Guard(nn.Module):
    """Takes steps whose gradient is finite, and counts the others.

    Args:
        condition: how a step is made to depend on the norm of its gradient.
    """

    skipped: Tensor
    """All updates that were skipped, ``[]``; ``[S]`` of several agents."""

    in_a_row: Tensor
    """Those since the latest that was not."""

    def __init__(self, condition: Condition = by_device) -> None:
        super().__init__()
        self.condition = condition
        # What was told of the counters, for as long as nothing changes them: copies cost time.
        self.told: tuple[Tensor, Tensor] | None = None
        self.whole: tuple[Guard, ...] = ()
        # Not persistent: the counters are no part of what the networks are.
        for name in ("skipped", "in_a_row"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64), persistent=False)

    @classmethod
    def of_each(cls, guards: Sequence[Guard]) -> Guard:
        """One of several agents, whose own counters become views of its."""
        several = cls(guards[0].condition)
        for name in ("skipped", "in_a_row"):
            own = [guard.get_buffer(name) for guard in guards]
            stacked = torch.stack(own)
            for i, counter in enumerate(own):
                counter.data = stacked[i]
            setattr(several, name, stacked)
        for guard in guards:
            guard.told, guard.whole = None, (several,)
        return several

    def take(self, prepared: Callable[[Tensor], Step], metrics: TensorDictBase) -> TensorDictBase:
        """Takes a step where the norm of its gradient is finite.

        Args:
            prepared: the step, from the norm.
            metrics: the norm is among them; the counters are added.
        """
        norm = metrics[GRAD_NORM]
        bad = self.condition(norm, prepared(norm))
        torch.clear_autocast_cache()  # of copies of weights that have moved
        if bad is not None:
            self.skipped.add_(bad)
            self.in_a_row.add_(1).mul_(bad)
            self.told = None
            skipped, in_a_row = self.skipped.clone(), self.in_a_row.clone()
        elif self.told is None:
            self.in_a_row.zero_()
            self.told = skipped, in_a_row = self.skipped.clone(), self.in_a_row.clone()
        else:
            skipped, in_a_row = self.told
        return metrics.set(SKIPPED, skipped).set(IN_A_ROW, in_a_row)

    def load(self, skipped: int, in_a_row: int) -> None:
        """Continue counting from here."""
        self.skipped.fill_(skipped)
        self.in_a_row.fill_(in_a_row)
        for guard in (self, *self.whole):
            guard.told = None

    def __getstate__(self) -> dict[str, Any]:  # a copy is of one agent, not of its stack
        return {**self.__dict__, "told": None, "whole": ()}
