"""From a batch to gradients: operation by operation, or as one compiled graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn

from flowpolicy.agents.compiled import replays_graphs
from flowpolicy.agents.compiled_gradient import compiled_gradient
from flowpolicy.agents.gradient_norm import GRAD_NORM, gradient_norm
from flowpolicy.agents.loss_gradient import (
    Gradient,
    LossGradient,
    Only,
    entries_of,
    require_gradient,
    total_loss,
    trainable,
)
from flowpolicy.losses.sum import SumLoss

Trained = Callable[[Only], Iterator[tuple[str, nn.Parameter]]]
"""The parameters that the named losses train, by name."""
Held = Callable[[], Sequence[nn.Parameter]]
"""The parameters that an optimizer holds."""


@final
class EagerBackward:
    """Runs the losses and their backward pass operation by operation.

    Args:
        loss: all losses of the agent.
        parameters: those that its optimizer holds by now.
    """

    def __init__(self, loss: SumLoss, parameters: Held) -> None:
        self.loss = loss
        self.parameters = parameters

    def __call__(self, batch: TensorDictBase, only: Only) -> TensorDictBase:
        """The metrics; the parameters have their gradients afterwards."""
        with torch.enable_grad():
            metrics: TensorDictBase = self.loss(batch, only)
            total = total_loss(metrics)
        require_gradient(total, self.loss, only)
        total.backward()
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norms = torch._foreach_norm(gradients)  # noqa: SLF001 (as torch's own clipping)
        values = {key: value.detach() for key, value in metrics.items()}
        values[GRAD_NORM] = gradient_norm(norms, total)
        return TensorDict(values, batch_size=[])


@final
class CompiledBackward:
    """Runs losses and backward pass as one graph, compiled at the first batch.

    Args:
        gradient: of the losses.
        trained: which parameters get gradients.
        parameters: those that the optimizer holds by now.
        compiling: ``backend``, ``mode`` and ``options`` of ``torch.compile``.
    """

    def __init__(
        self, gradient: LossGradient, trained: Trained, parameters: Held, **compiling: Any
    ) -> None:
        self.gradient = gradient
        self.trained = trained
        self.parameters = parameters
        self.compiling = compiling
        self.replays_graphs = replays_graphs(compiling.get("mode"), compiling.get("options"))
        self._program: Gradient | None = None
        self._reached: dict[tuple[Only, tuple[bool, ...]], dict[str, nn.Parameter]] = {}

    def __call__(self, batch: TensorDictBase, only: Only) -> TensorDictBase:
        """The metrics; the parameters have their gradients afterwards."""
        if self._program is None:
            self._program = compiled_gradient(self.gradient.of, **self.compiling)
        key = (only, trainable(self.parameters()))
        if key not in self._reached:
            candidates = dict(self.trained(only))
            names = self.gradient.reached(candidates, batch, only)
            self._reached[key] = {name: candidates[name] for name in names}
        parameters = self._reached[key]
        trained = {name: parameter.detach() for name, parameter in parameters.items()}
        with self.gradient.refusing(lambda: batch, only):
            gradients, metrics = self._program(trained, {}, entries_of(batch), only)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        return TensorDict(metrics, batch_size=[])

    def __getstate__(self) -> dict[str, Any]:  # a copy compiles for itself
        return {**self.__dict__, "_program": None, "_reached": {}}
