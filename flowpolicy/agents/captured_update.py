"""Whole updates as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast, final

import torch
from tensordict import TensorDictBase

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.agent_stack import AgentStack
from flowpolicy.agents.guarded_step import count_beside, leaves_out
from flowpolicy.agents.stacked_optimizer import StackedOptimizer
from flowpolicy.errors import ConfigError, require_at_least
from flowpolicy.modules.target_network import TargetNetwork

WARM_UP = 3
"""Updates before the graph is recorded: compilation, memory and the optimizer's first step."""

PATIENCE = 10
"""Attempts at updates of which none is skipped."""


@final
class CapturedUpdate:
    """Repeats an update with all that belongs to it: batch, noise, losses, targets and optimizer.

    On a GPU the first call makes a few ordinary updates and records one CUDA graph of ``updates``
    further ones; every later call replays it, and of Python's work only a comparison of what the
    graph holds is left, once for all updates of a call. On a CPU each call makes the updates one by
    one, with the same numbers. Whatever moves within the updates lies on the device: the agent, the
    data set, and the generators that draw rows and noise. The optimizer must count its steps there,
    as SGD, Adam and its kin can (``capturable``).

    A graph holds addresses and numbers. Where other tensors or generators have taken the place of
    those that it was recorded with, as after loading a state, or where a number of the optimizer or
    the precision of products has changed, the next call records anew; a learning rate that changes
    often is best a tensor, ``Adam(..., lr=torch.tensor(3e-4, device="cuda"))``, whose value is read
    in every update.

    Args:
        learner: the agent or stack, on its device; compile it before, ``learner.compile()``.
        next_batch: draws a batch on that device, of the same size each time, such as
            ``partial(dataset.sample, 256, generator)``.
        updates: how many a call makes.
        generators: what ``next_batch`` draws from.

    Raises:
        ConfigError: the agent is distributed, or compiled in a mode that replays graphs of its own;
            a generator on another device; ``updates`` below 1, or not a multiple of the number of
            updates that a loss or a target waits for; in use, on a GPU, an optimizer that waits
            for it in each step, or first updates that are skipped because their numbers are not
            finite.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> agent = fp.agents.flow_bc(3, 2, hidden=(16,))
        >>> data = TensorDict(
        ...     observation=torch.randn(64, 3), action=torch.zeros(64, 2), batch_size=[64]
        ... )
        >>> update = fp.CapturedUpdate(agent, lambda: data[torch.randint(64, (8,))], updates=4)
        >>> update()["loss_flow"].shape, agent.step
        (torch.Size([]), 4)
    """

    def __init__(
        self,
        learner: Agent | AgentStack,
        next_batch: Callable[[], TensorDictBase],
        *,
        updates: int = 1,
        generators: Iterable[torch.Generator] = (),
    ) -> None:
        self.learner = learner
        self.agents = (learner,) if isinstance(learner, Agent) else learner.agents
        if any(agent.is_distributed for agent in self.agents):
            raise ConfigError(
                "CapturedUpdate: the agent shares its batches out among processes, which compare "
                "what they hold between updates; that cannot be recorded. Call agent.update."
            )
        if learner.replays_graphs:
            raise ConfigError(
                "CapturedUpdate: the learner is compiled in a mode that replays CUDA graphs of its "
                "own, and a graph cannot hold another. Compile it without a mode."
            )
        self.next_batch = next_batch
        self.updates = require_at_least("CapturedUpdate", "updates", updates, 1)
        self.generators = tuple(generators)
        self.device = next(self.agents[0].networks.parameters()).device
        for generator in self.generators:
            if not self._draws_there(generator):
                raise ConfigError(
                    f"CapturedUpdate: a generator is on {generator.device}, the learner on "
                    f"{self.device}; make it there, torch.Generator({str(self.device)!r})."
                )
        self._recorded: tuple[torch.cuda.CUDAGraph, TensorDictBase, list[object]] | None = None
        # Found once: looking through modules takes longer than an update on a GPU.
        self._read = [tensor for agent in self.agents for _, tensor in agent.tensors_read()]
        self._targets = [
            cast("TargetNetwork", each) for agent in self.agents for each in agent.targets.values()
        ]
        first = self.agents[0]
        self._waits = {*first.every.values(), *(target.every for target in self._targets)}
        for wait in sorted(self._waits):
            if updates % wait != 0:
                raise ConfigError(
                    f"CapturedUpdate: updates={updates} must be a multiple of {wait}, because a "
                    "loss or target waits for every such update and the same updates are repeated."
                )

    def __call__(self) -> TensorDictBase:
        """Makes ``updates`` updates; the metrics of the last.

        On a GPU the metrics lie in memory that the next call writes again.
        """
        if self.device.type != "cuda":
            return self._in_turn()
        if self._recorded is None or self._recorded[-1] != self._held():
            self._recorded = None  # what it holds is given back first
            with torch.cuda.device(self.device):
                self._recorded = (*self._record(), self._held())
        else:
            for agent in self.agents:
                agent.step += self.updates
        graph, metrics, _ = self._recorded
        graph.replay()
        return metrics

    def _draws_there(self, generator: torch.Generator) -> bool:
        """Whether it is on the learner's device; one made for "cuda" does not say on which."""
        its = generator.device
        return its.type == self.device.type and its.index in (None, self.device.index)

    def _in_turn(self) -> TensorDictBase:
        for _ in range(self.updates - 1):
            self.learner.update(self.next_batch())
        return self.learner.update(self.next_batch())

    def _record(self) -> tuple[torch.cuda.CUDAGraph, TensorDictBase]:
        """Warms up by ordinary updates, then records further ones, which the first replay makes."""
        require_capturable(self._optimizer)
        count_beside(self._optimizer)
        if isinstance(self.learner, AgentStack) and leaves_out(self._optimizer):
            self.learner.step_apart()  # the graph repeats no Python, which this has more of
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP - 1):
                self._in_turn()
            self._make_states()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        for agent in self.agents:
            graph.register_generator_state(agent.noise.generator(self.device))
        with torch.cuda.graph(graph, stream=side):
            metrics = self._in_turn()  # recorded, not run; counters move as if it had been
        return graph, metrics

    def _make_states(self) -> None:
        """Makes updates until none was skipped: then no optimizer has a first step before it."""
        for _ in range(PATIENCE):
            before = self._skipped()
            self._in_turn()
            if self._skipped() == before:
                return
        raise ConfigError(
            f"CapturedUpdate: in each of {PATIENCE} attempts an update was skipped, because a loss "
            "or the gradient was not finite, and nothing was recorded. Look at a batch with "
            "flowpolicy.agents.first_not_finite(agent, batch)."
        )

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.learner.optimizer
        return optimizer.whole if isinstance(optimizer, StackedOptimizer) else optimizer

    def _held(self) -> list[object]:
        """What a graph would hold: the addresses of tensors, generators, and numbers."""
        held: list[object] = [
            value.tolist() if isinstance(value, torch.Tensor) and not value.is_cuda else value
            for group in self._optimizer.param_groups
            for key, value in group.items()
            if key not in ("params", "param_names")
        ]
        held += [*self._read, *(target.tau for target in self._targets)]
        held += [self.agents[0].step % wait for wait in sorted(self._waits)]
        held += [torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")]
        held.append(torch.backends.cuda.matmul.fp32_precision)
        for agent in self.agents:
            held += [value for state in agent.optimizer.state.values() for value in state.values()]
            held += [agent.clip_norm, agent.noise.generator(self.device)]
        return [each.data_ptr() if isinstance(each, torch.Tensor) else each for each in held]

    def _skipped(self) -> int:
        return sum(int(agent.guard.skipped) for agent in self.agents)


def require_capturable(optimizer: torch.optim.Optimizer) -> None:
    """Refuses optimizers of torch's that read numbers back from the device in each step."""
    kind = type(optimizer)
    reads = kind is not torch.optim.SGD and "capturable" not in optimizer.param_groups[0]
    if reads and kind.__module__.startswith("torch.optim"):
        raise ConfigError(
            f"CapturedUpdate: {kind.__name__} waits for the GPU in each step, so that it cannot be "
            "recorded. Use one with an option capturable, such as Adam, or SGD."
        )
