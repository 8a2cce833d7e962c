"""Losses, targets, an optimizer and a policy, put together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, cast, final

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from flowpolicy.agents.backward import CompiledBackward, EagerBackward
from flowpolicy.agents.distributed_backward import DistributedBackward
from flowpolicy.agents.guard import Guard
from flowpolicy.agents.guarded_step import Step, count_beside
from flowpolicy.agents.loose_buffers import LooseBuffers
from flowpolicy.agents.loss_gradient import LossGradient
from flowpolicy.agents.noise_source import NoiseSource
from flowpolicy.agents.requirements import (
    all_actors,
    require_learners,
    require_names,
    require_straight_paths,
    require_update,
    some_in_every_update,
)
from flowpolicy.agents.roles import owned_networks, owned_targets, read_with_buffers
from flowpolicy.errors import ConfigError, require_positive
from flowpolicy.losses.base import Loss
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.ranks import require_group

OptimizerFactory = Callable[[Iterable[tuple[str, nn.Parameter]]], torch.optim.Optimizer]


@final
class Agent(nn.Module):
    r"""Updates every network of its losses in one step.

    .. math::
        \theta \leftarrow
            \mathrm{optimizer}\Big(\theta,\ \nabla_\theta \sum_i L_i(\theta)\Big),\qquad
        \bar\phi \leftarrow (1 - \tau)\,\bar\phi + \tau\,\phi

    All losses are evaluated with the parameters of before the step, there is one backward pass of
    their sum, target networks move (towards those same parameters unless they were built with
    ``after_step=True``), and the optimizer steps.

    It is an assembly, not an abstraction: ``agent.loss`` is a TorchRL ``LossModule``
    (``agent.loss.actor_network`` is the policy), ``agent.policy`` goes into a collector,
    ``agent.optimizer`` is an ordinary optimizer. The agent owns every network, so ``.to``,
    ``.double``, ``state_dict``, ``deepcopy`` and pickle of the agent cover all of them:
    ``networks.<role>`` and ``targets.<role>`` in its state dict, where a role is what the losses
    call the network.

    Args:
        policy: the actor to deploy.
        losses: their order does not matter.
        optimizer: makes an optimizer of named parameters, e.g. ``partial(torch.optim.Adam,
            lr=3e-4)``.
        networks: names of networks, where the losses' own (``actor``, ``field``, ``critic``,
            ``value``) would collide.
        actors: further actors worth evaluating, such as the cloned flow; the policy is always among
            ``agent.actors``.
        clip_norm: the largest norm of the gradient of all trained parameters together; a longer one
            is scaled down. No limit where ``None``.
        every: losses that count only in every n-th update, by name. Their networks then keep their
            parameters and optimizer state in the other updates, and their metrics are absent.
        seed: of the noise that ``update`` draws.

    Raises:
        ConfigError: two networks in one role, two losses of one name, a name that a
            ``ModuleDict`` cannot hold (``values``), another actor called ``policy``, draws that
            contradict each other, a ``clip_norm`` that is not above 0, an unknown loss in
            ``every``, none that counts in every update, a ``LearnedCoefficient`` that no loss
            moves, or a field of another path than the straight one where only that is right.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> field = fp.VelocityField(3, 2, hidden=(16,))
        >>> agent = fp.Agent(policy=fp.EulerSampler(field), losses=[fp.FlowMatchingLoss(field)])
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> agent.update(batch)["loss_flow"].shape
        torch.Size([])
        >>> agent.act(torch.randn(4, 3)).shape, list(agent.networks)
        (torch.Size([4, 2]), ['field'])
    """

    loss: SumLoss
    _views: dict[str, nn.Module]
    policy: Actor
    actors: dict[str, Actor]

    def __init__(
        self,
        policy: Actor,
        losses: Sequence[Loss],
        optimizer: OptimizerFactory = partial(torch.optim.Adam, lr=3e-4),
        *,
        networks: Mapping[str, nn.Module] | None = None,
        actors: Mapping[str, Actor] | None = None,
        clip_norm: float | None = None,
        every: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        actors = all_actors(policy, actors or {})
        if isinstance(optimizer, torch.optim.Optimizer):
            raise ConfigError(
                "Agent: optimizer must be a function of named parameters, got one that is made "
                f"already. Pass partial(torch.optim.{type(optimizer).__name__}, lr=...)."
            )
        # In __dict__: views of the networks that are registered below, each once.
        self.__dict__["loss"] = SumLoss(losses, policy)
        self.__dict__["policy"] = policy
        self.__dict__["actors"] = actors
        require_learners(self.loss)
        require_straight_paths(self.loss, actors.values())
        owned_by_role = owned_networks(self.loss, actors.values(), networks or {})
        losses_by_name = {each.name: each for each in self.loss.losses}
        require_names("a loss", losses_by_name, "Give it another with name=... in its constructor.")
        require_names("an actor", actors, "Choose another in actors={...}.")
        require_names("a network", owned_by_role, "Name it with networks={'critic': ...}.")
        self.networks = nn.ModuleDict(owned_by_role)
        self.targets = nn.ModuleDict(owned_targets(self.loss, actors.values(), dict(self.networks)))
        owned = nn.ModuleList([self.networks, self.targets])
        self.__dict__["_views"] = {
            "losses": nn.ModuleDict(losses_by_name),
            "actors": nn.ModuleDict(actors),
            "reads": nn.ModuleDict(dict(read_with_buffers(self.loss, owned))),
        }
        self.loose = LooseBuffers(self._views, owned)
        self.optimizer = optimizer(list(self.trained_parameters()))
        if isinstance(self.optimizer, torch.optim.LBFGS):
            raise ConfigError(
                "Agent: LBFGS evaluates the losses several times in a step, which an agent does "
                "once. Use another optimizer, such as Adam."
            )
        self.clip_norm = (
            None if clip_norm is None else require_positive("Agent", "clip_norm", clip_norm)
        )
        self.every = some_in_every_update(every or {}, list(losses_by_name))
        self.noise = NoiseSource(seed)
        self.guard = Guard()
        self.step = 0
        self._backward: EagerBackward | CompiledBackward = self._eager()
        self._shared: DistributedBackward | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("loss", "policy", "actors"):
            raise ConfigError(
                f"Agent: {name} is fixed when the agent is built. To compile, use "
                "agent.compile(); for other parts, build another agent."
            )
        super().__setattr__(name, value)

    def trained_parameters(
        self, only: Collection[str] | None = None
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that some loss trains, each once, with their names in the state dict.

        One that requires no gradient is held as it is.

        Args:
            only: the losses to ask, by name; all where ``None``.
        """
        trained = {
            id(parameter) for loss in self.loss.due(only) for parameter in loss.network.parameters()
        }
        for name, parameter in self.networks.named_parameters(prefix="networks"):
            if id(parameter) in trained and parameter.requires_grad:
                yield name, parameter

    def optimized_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Those that the optimizer holds, trained by now or not, with their names."""
        held = {id(parameter) for parameter in self._optimized()}
        for name, parameter in self.networks.named_parameters(prefix="networks"):
            if id(parameter) in held:
                yield name, parameter

    def update(self, batch: TensorDictBase) -> TensorDictBase:
        """One gradient step on a batch; none where a loss or the gradient is not finite.

        A step that is skipped leaves parameters, optimizer state and targets as they were, bit for
        bit. ``agent.step`` counts it all the same: it counts batches.

        Args:
            batch: with what the losses read; never written. Noise and times are drawn where absent.

        Returns:
            Every loss and metric, detached, of batch size ``[]``, with the norm of the gradient,
            ``grad_norm``, NaN where a loss is not finite, and the number of updates ``skipped`` in
            all and ``skipped_in_a_row`` up to this one. Nothing is read back from a GPU but in the
            first step of each network, in which its optimizer state is made.

        Raises:
            ConfigError: what is no TensorDict, ``torch.inference_mode()``, or losses of which no
                parameter requires gradient.
        """
        require_update("Agent", batch)
        only = self.due_losses()
        metrics = self.backward(self.with_noise(batch, only), only)
        metrics = self.guard.take(self.prepared_step, metrics)
        self.step += 1
        return metrics

    def prepared_step(self, norm: Tensor) -> Step:
        """The step that the gradients ask for: of the targets and the optimizer, not yet taken.

        Args:
            norm: of the gradients, ``[]``.
        """
        return Step(
            clip=partial(self._clip, norm),
            optimizers=(self.optimizer,),
            before=self.due_targets(after_step=False),
            after=self.due_targets(after_step=True),
            move=_move,
            tensors=lambda target: target.network.parameters(),
        )

    def _clip(self, norm: Tensor) -> None:
        if self.clip_norm is not None:
            clip = nn.utils.clip_grads_with_norm_
            clip(self._optimized(), self.clip_norm, norm, foreach=True)

    def due_losses(self) -> tuple[str, ...] | None:
        """The losses that count in the next update, by name; ``None`` where all do."""
        due = tuple(
            loss.name
            for loss in self.loss.losses
            if (self.step + 1) % self.every.get(loss.name, 1) == 0
        )
        return due if len(due) < len(self.loss.losses) else None

    def due_targets(self, *, after_step: bool) -> list[TargetNetwork]:
        """The targets that move in the next update, before or after the optimizer's step."""
        targets = [cast("TargetNetwork", each) for each in self.targets.values()]
        return [
            target
            for target in targets
            if target.after_step == after_step and (self.step + 1) % target.every == 0
        ]

    def with_noise(
        self, batch: TensorDictBase, only: tuple[str, ...] | None = None
    ) -> TensorDictBase:
        """The batch with all draws of an update, from the agent's own generator where absent.

        Args:
            batch: never written.
            only: the losses that draw, by name; all where ``None``.
        """
        return self.loss.with_draws(batch, self.noise.sample, only)

    def backward(
        self, batch: TensorDictBase, only: tuple[str, ...] | None = None
    ) -> TensorDictBase:
        """Gives every trained parameter its gradient in place of the last, without a step.

        Args:
            batch: with what the losses read; draws that it lacks come from PyTorch's global
                generator.
            only: the losses that count, by name; all where ``None``. What none of them trains is
                left without a gradient.

        Returns:
            Every loss and metric, ``grad_norm`` among them, detached, of batch size ``[]``.
        """
        for parameter in self._optimized():  # as zero_grad, at a third of its cost
            parameter.grad = None
        if self._shared is None:
            return self._backward(batch, only)
        return self._shared(self._backward, batch, only)

    def compile(  # type: ignore[override]
        self,
        backend: str = "inductor",
        *,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Agent:
        """From now on runs losses and their backward pass as one compiled graph.

        The numbers are those of before up to rounding. The first update compiles, which takes about
        a minute; a later one does so where the batch has another size, dtype or entries, up to
        PyTorch's limit of 8 programs. Values of parameters, targets and coefficients may change,
        and so may which parameters require gradient; what the losses are made of and the names of
        entries (``set_keys``) are looked at while compiling, so compile again after changing them.
        Hooks of parameters are not called, and networks that write into buffers as they compute,
        such as BatchNorm, cannot be compiled. A copy of the agent compiles for itself.

        Args:
            backend: of ``torch.compile``.
            mode: of ``torch.compile``; ``"reduce-overhead"`` replays CUDA graphs.
            options: of ``torch.compile``, added to those of the mode.

        Returns:
            The agent.

        Example:
            >>> import flowpolicy as fp
            >>> agent = fp.agents.fql(3, 2, hidden=(16,)).compile()
        """
        backward = CompiledBackward(
            self.loss_gradient(),
            self.trained_parameters,
            self._optimized,
            backend=backend,
            mode=mode,
            options=options,
        )
        return self._go_back_by(backward)

    def loss_gradient(self) -> LossGradient:
        """The gradient of the losses as a function of tensors by their names in the state dict."""
        parts = {"networks": self.networks, "targets": self.targets, **self._views}
        return LossGradient(parts, self.loss)

    def uncompile(self) -> Agent:
        """From now on runs losses and backward pass operation by operation, as after building."""
        return self._go_back_by(self._eager())

    def distribute(self) -> Agent:
        r"""From now on shares every batch out among the processes of ``torch.distributed``.

        .. math:: \nabla L = \frac1R \sum_{r=1}^{R} \nabla L_r

        Every process makes the same updates with the same whole batch and the same noise; only the
        passes through the networks are shared: each process takes its rows, and the gradients are
        averaged. Up to rounding they are those of one process, also where a number of the whole
        batch enters (:func:`~flowpolicy.functional.batch_mean`), and so are the metrics. Whatever
        the processes do besides must be the same on all: agents built and loaded alike, batches
        drawn from generators in the same state. In the first updates and in every hundredth they
        compare their parameters, targets and optimizer state.

        Returns:
            The agent.

        Raises:
            DistributedError: there is no process group; or (in use) the processes have come apart.
            ConfigError: a batch whose rows cannot be shared out evenly (in use).
        """
        require_group("Agent.distribute")
        if self._shared is None:
            self._backward = copy(self._backward)  # which compiles anew: the losses are others now
            self._shared = DistributedBackward(self.trained_parameters, self.tensors)
        return self

    @property
    def is_distributed(self) -> bool:
        """Whether its batches are shared out among processes."""
        return self._shared is not None

    @property
    def replays_graphs(self) -> bool:
        """Whether it is compiled in a mode that replays CUDA graphs."""
        return isinstance(self._backward, CompiledBackward) and self._backward.replays_graphs

    def tensors_read(self) -> Iterator[tuple[str, Tensor]]:
        """All parameters, targets and loose buffers, which an update reads, each with a name."""
        for prefix, part in (("networks", self.networks), ("targets", self.targets)):
            yield from part.named_parameters(prefix)
            yield from part.named_buffers(prefix)
        yield from self.loose.named()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What an update reads, and the optimizer's state, each with a name."""
        yield from self.tensors_read()
        for i, state in enumerate(self.optimizer.state.values()):
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield f"optimizer.{i}.{key}", value

    def _go_back_by(self, backward: EagerBackward | CompiledBackward) -> Agent:
        self._backward = backward
        return self

    def _eager(self) -> EagerBackward:
        return EagerBackward(self.loss, self._optimized)

    def _optimized(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor | None = None) -> Tensor:
        """The policy's action, ``observation [*B, O] -> [*B, A]``; absent noise is drawn."""
        if noise is None:
            noise = self.policy.draw_noise(observation)
        return self.policy.act(observation, noise)

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,  # noqa: FBT001, FBT002  (torch's signature)
        assign: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:
        """Copies a state into the agent's tensors.

        Raises:
            ConfigError: ``assign=True``, which would put other tensors in the place of those that
                the optimizer moves.
        """
        if assign:
            raise ConfigError(
                "Agent.load_state_dict: assign=True would put other tensors in the place of those "
                "that the optimizer moves. Leave it out: values are copied."
            )
        return super().load_state_dict(state_dict, strict)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: bool, **kwargs: bool) -> Agent:
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        # Loose buffers live in losses and actors, which are not registered here.
        for each in self._views.values():
            each._apply(fn)  # noqa: SLF001
        for state in self.optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    moved = fn(value)
                    # Adam counts its steps in float32 whatever the parameters are.
                    state[key] = moved.to(value.dtype) if key == "step" else moved
        count_beside(self.optimizer)
        return self

    def extra_repr(self) -> str:
        """The losses by name."""
        return f"losses={[loss.name for loss in self.loss.losses]}, step={self.step}"


def _move(targets: Sequence[TargetNetwork]) -> None:
    for target in targets:
        target.update()
