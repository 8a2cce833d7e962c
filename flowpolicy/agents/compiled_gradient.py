"""The gradient of an agent's losses as one compiled graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowpolicy.agents.compiled import compiled, replays_graphs
from flowpolicy.agents.loss_gradient import Entries, Gradient, Only, Tensors


def compiled_gradient(gradient: Gradient, **compiling: Any) -> Gradient:
    """A method of ``LossGradient`` as one graph, whose metrics outlive the next run.

    Args:
        gradient: bound to the object whose program it is.
        compiling: ``backend``, ``mode`` and ``options`` of ``torch.compile``.
    """
    program = compiled(gradient, ("trained", "other", "entries", "only"), **compiling)
    if not replays_graphs(compiling.get("mode"), compiling.get("options")):
        return program

    def keeping_metrics(
        trained: Tensors, other: Tensors, entries: Entries, only: Only
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        gradients, metrics = program(trained, other, entries, only)
        return gradients, {key: value.clone() for key, value in metrics.items()}

    return keeping_metrics
