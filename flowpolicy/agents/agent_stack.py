"""Several agents of one make, updated as one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast, final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from flowpolicy.agents.agent import Agent
from flowpolicy.agents.compiled import replays_graphs
from flowpolicy.agents.compiled_gradient import compiled_gradient
from flowpolicy.agents.guard import Guard
from flowpolicy.agents.guarded_step import Step
from flowpolicy.agents.likeness import difference
from flowpolicy.agents.loss_gradient import Gradient, Only, entries_of, trainable
from flowpolicy.agents.requirements import require_update
from flowpolicy.agents.stacked_optimizer import StackedOptimizer
from flowpolicy.errors import ConfigError, ShapeError
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.target_network import TargetNetwork, polyak_
from flowpolicy.paths.draws import Draw


@final
class AgentStack:
    r"""Updates several agents, such as the seeds of one method, in one program.

    .. math::
        \theta_i \leftarrow
            \mathrm{optimizer}\big(\theta_i,\ \nabla L(\theta_i;\ \mathrm{batch}_i)\big),
        \qquad i = 1..S

    Every product of the ``S`` networks is one batched product, which spares the overhead of
    ``S - 1`` updates, but no arithmetic. The agents stay what they are: each owns its
    parameters, optimizer state, noise and counter, which lie side by side in memory from now on,
    and can be saved, evaluated and asked as before. No agent sees anything of another; each does
    what it would have done alone, up to rounding. Update them through the stack only, and
    stack them after loading: a tensor that is put in place of a stacked one is no longer updated.

    The optimizer's options, such as a learning rate under a schedule, are those of
    ``stack.optimizer.whole``; each agent's own optimizer is told them with every update.

    The agents may differ in the values of their parameters and persistent buffers, such as
    coefficients and temperatures. They may not differ in anything else, since they share one
    program. Networks that write into buffers as they compute, such as BatchNorm, cannot be stacked.

    Args:
        agents: ``S`` of one make and step count, with an optimizer that treats every element of a
            parameter on its own, such as Adam.

    Raises:
        ConfigError: no agent, agents that share a network or differ in their make, one that is
            distributed, or another kind of optimizer.
        ShapeError: a batch that is not ``[S, B]`` (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> agents = [fp.agents.flow_bc(3, 2, hidden=(16,)) for _ in range(4)]
        >>> stack = fp.AgentStack(agents)
        >>> batch = TensorDict(
        ...     observation=torch.randn(4, 8, 3), action=torch.zeros(4, 8, 2), batch_size=[4, 8]
        ... )
        >>> stack.update(batch)["loss_flow"].shape
        torch.Size([4])
        >>> agents[2].step, agents[2].act(torch.zeros(3)).shape
        (1, torch.Size([2]))
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        _require_one_make(agents)
        self.agents = tuple(agents)
        first = agents[0]
        self._gradient = first.loss_gradient()
        self._run: Gradient = self._gradient.of_each
        self.replays_graphs = False
        self._reached: dict[tuple[Only, tuple[bool, ...]], list[str]] = {}
        names = [list(agent.tensors_read()) for agent in agents]
        members = [dict(agent.optimized_parameters()) for agent in agents]
        self._tensors = {
            name: _side_by_side([member[i][1] for member in names], trains=name in members[0])
            for i, (name, _) in enumerate(names[0])
        }
        self._by_id = {id(value): self._tensors[name] for name, value in names[0]}
        self.optimizer = StackedOptimizer(
            [agent.optimizer for agent in agents],
            members,
            {name: cast("nn.Parameter", self._tensors[name]) for name in members[0]},
        )
        self.guard = Guard.of_each([agent.guard for agent in agents])
        if not self.optimizer.together:
            self.step_apart()

    def __len__(self) -> int:
        return len(self.agents)

    def __reduce__(self) -> tuple[type[AgentStack], tuple[tuple[Agent, ...]]]:
        """A copy is a stack of copies, which is not compiled."""
        return AgentStack, (self.agents,)

    @property
    def loss(self) -> SumLoss:
        """The losses, as the first agent has them; what all of them are made like."""
        return self.agents[0].loss

    def compile(
        self,
        backend: str = "inductor",
        *,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> AgentStack:
        """From now on runs losses and backward pass of all agents as one compiled graph.

        Args:
            backend: of ``torch.compile``.
            mode: of ``torch.compile``.
            options: of ``torch.compile``, added to those of the mode.

        Returns:
            The stack. See ``Agent.compile``.
        """
        self.replays_graphs = replays_graphs(mode, options)
        self._run = compiled_gradient(
            self._gradient.of_each, backend=backend, mode=mode, options=options
        )
        return self

    def uncompile(self) -> AgentStack:
        """From now on runs losses and backward pass operation by operation."""
        self._run = self._gradient.of_each
        self.replays_graphs = False
        return self

    def update(self, batch: TensorDictBase) -> TensorDictBase:
        """One gradient step of every agent on its own batch.

        An agent whose loss or gradient is not finite is skipped, as by ``Agent.update``; the others
        move as if nothing had happened. On the CPU the optimizers then step one after the other
        from there on, since they have seen different numbers of steps; on a GPU they go on
        counting their steps together, unless ``step_apart`` was called.

        Args:
            batch: of batch size ``[S, B]``, one row of batches for each agent; never written. What
                is absent of noise and times each agent draws from its own generator.

        Returns:
            Every loss and metric, detached, of batch size ``[S]``, with ``grad_norm``, ``skipped``
            and ``skipped_in_a_row``.
        """
        require_update("AgentStack", batch)
        if batch.ndim != 2 or batch.shape[0] != len(self.agents):
            raise ShapeError(
                f"AgentStack.update: the batch size must be [{len(self.agents)}, B], a batch for "
                f"each agent, got {list(batch.batch_size)}. Stack them with torch.stack."
            )
        first = self.agents[0]
        only = first.due_losses()
        metrics = self.backward(self.loss.with_draws(batch, self._sample, only), only)
        metrics = self.guard.take(self._prepared_step, metrics)
        if self.optimizer.together:
            self.optimizer.share()
        for agent in self.agents:
            agent.step += 1
        return metrics

    def backward(
        self, batch: TensorDictBase, only: tuple[str, ...] | None = None
    ) -> TensorDictBase:
        """Gives every trained parameter its gradient in place of the last, without a step.

        Args:
            batch: ``[S, B]`` with every draw.
            only: the losses that count, by name; all where ``None``.

        Returns:
            Every loss and metric, detached, of batch size ``[S]``.
        """
        self.optimizer.zero_grad()
        key = (only, self._trainable())
        if key not in self._reached:
            parameters = dict(self.agents[0].trained_parameters(only))
            self._reached[key] = self._gradient.reached(parameters, batch[0], only)
        names = self._reached[key]
        trained = {name: self._tensors[name].detach() for name in names}
        other = {name: t.detach() for name, t in self._tensors.items() if name not in trained}
        with self._gradient.refusing(lambda: batch[0], only):
            gradients, metrics = self._run(trained, other, entries_of(batch), only)
        for name in names:
            self._tensors[name].grad = gradients[name]
        return TensorDict(metrics, batch_size=[len(self.agents)])

    def _trainable(self) -> tuple[bool, ...]:
        """Which parameters require gradient: the same of all agents."""
        first, *others = (trainable(members) for members in self.optimizer.members())
        for i, other in enumerate(others, start=1):
            if other != first:
                raise ConfigError(
                    f"AgentStack: other parameters of agent {i} require gradient than of agent 0. "
                    "One program updates all of them: freeze and unfreeze all alike."
                )
        return first

    def step_apart(self) -> None:
        """From now on takes the step of each agent by its own optimizer.

        As it must where they have seen different numbers of steps. On a GPU it also moves the least
        memory where that is a fused Adam, whose kernels leave a step out by themselves: of
        parameters and optimizer state nothing is copied that would have to be put back if an agent
        is skipped.
        """
        self.optimizer.together = False
        self.guard.condition = self._apart

    def _sample(self, draw: Draw, observation: Tensor) -> Tensor:
        """A draw of every agent for its own rows."""
        rows = zip(self.agents, observation, strict=True)
        return torch.stack([agent.noise.sample(draw, each) for agent, each in rows])

    def _prepared_step(self, norm: Tensor) -> Step:
        """The step of all agents, not yet taken."""

        def apart() -> None:
            self.step_apart()
            self._apart(norm)

        return self._step_by((self.optimizer.whole,), norm, apart)

    def _step_by(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        norm: Tensor,
        apart: Callable[[], None],
    ) -> Step:
        first = self.agents[0]
        return Step(
            clip=partial(self._clip, norm),
            optimizers=optimizers,
            before=first.due_targets(after_step=False),
            after=first.due_targets(after_step=True),
            move=self._move,
            tensors=lambda target: self._stacked(target.network),
            apart=apart,
        )

    def _apart(self, norm: Tensor, _: Step | None = None) -> Tensor | None:
        """The step by each agent's optimizer, as agents of different numbers of steps need."""
        for i in range(len(self)):
            self.optimizer.hand_over(i)

        def one_by_one() -> None:
            for i, agent in enumerate(self.agents):
                agent.guard.condition(norm[i], agent.prepared_step(norm[i]))

        own = [agent.optimizer for agent in self.agents]
        return self.agents[0].guard.condition(norm, self._step_by(own, norm, one_by_one))

    def _clip(self, norm: Tensor) -> None:
        """As ``torch.nn.utils.clip_grads_with_norm_``, for each agent."""
        longest = self.agents[0].clip_norm
        if longest is None:
            return
        factor = (longest / (norm + 1e-6)).clamp(max=1.0)
        for parameter in self.optimizer.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor.view(-1, *[1] * (parameter.ndim - 1)))

    def _move(self, targets: Sequence[TargetNetwork]) -> None:
        for target in targets:
            polyak_(self._stacked(target.network), self._stacked(target.source), target.tau)

    def _stacked(self, network: nn.Module) -> list[Tensor]:
        return [self._by_id[id(p)] for p in network.parameters()]


def _side_by_side(members: Sequence[Tensor], *, trains: bool) -> Tensor:
    """The tensors of all agents as one; each agent's tensor becomes a view of it."""
    stacked = torch.stack([member.detach() for member in members])
    for i, member in enumerate(members):
        member.data = stacked[i]
    return nn.Parameter(stacked) if trains else stacked


def _require_one_make(agents: Sequence[Agent]) -> None:
    if not agents:
        raise ConfigError("AgentStack: at least one agent is needed.")
    first, *others = agents
    seen: set[int] = set()
    for i, agent in enumerate(agents):
        if agent.is_distributed:
            raise ConfigError(
                f"AgentStack: agent {i} shares its batches out among processes, which a stack does "
                "not. Give each process a stack of its own."
            )
        own = {id(p) for p in (*agent.networks.parameters(), *agent.targets.parameters())}
        if own & seen:
            raise ConfigError(
                f"AgentStack: agent {i} shares a network with one before it. Build each agent on "
                "its own, or copy one with copy.deepcopy."
            )
        seen |= own
    free = {id(tensor) for agent in agents for _, tensor in agent.tensors_read()}
    for i, agent in enumerate(others, start=1):
        for what in ("loss", "targets", "every", "clip_norm", "step"):
            ours, theirs = getattr(first, what), getattr(agent, what)
            differs = difference(ours, theirs, what, lambda tensor: id(tensor) in free)
            if differs is not None:
                raise ConfigError(
                    f"AgentStack: agents 0 and {i} differ in {differs}. One program updates all of "
                    "them: they may differ only in the values of tensors, such as parameters and "
                    "coefficients."
                )
