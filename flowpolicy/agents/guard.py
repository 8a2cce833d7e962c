"""Updates that are skipped because their numbers are not finite, and their count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

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
        return several

    def take(self, step: Step, metrics: TensorDictBase) -> TensorDictBase:
        """Takes the step where the norm among the metrics is finite; adds the counters to them."""
        bad = self.condition(metrics[GRAD_NORM], step)
        if bad is None:
            self.in_a_row.zero_()
        else:
            self.skipped.add_(bad)
            self.in_a_row.add_(1).mul_(bad)
        metrics[SKIPPED], metrics[IN_A_ROW] = self.skipped.clone(), self.in_a_row.clone()
        return metrics

    def load(self, skipped: int, in_a_row: int) -> None:
        """Continue counting from here."""
        self.skipped.fill_(skipped)
        self.in_a_row.fill_(in_a_row)
