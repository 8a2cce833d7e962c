"""A batch as the losses share it: every network at most once on every input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn

from flowpolicy.errors import DtypeError, ShapeError, require_last_dim
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.critic_ensemble import CriticEnsemble
from flowpolicy.modules.density_actor import DensityActor, ModeActor
from flowpolicy.modules.frozen import frozen, unfrozen
from flowpolicy.modules.gaussian import ActionDistribution
from flowpolicy.modules.keys import BatchKeys, entry, next_key
from flowpolicy.modules.noise_predictor import NoisePredictor
from flowpolicy.modules.noisy_critic_ensemble import NoisyCriticEnsemble
from flowpolicy.modules.parts import checked, state_values_of, values_of
from flowpolicy.modules.scaled_action_critic import ScaledActionCritic
from flowpolicy.modules.stochastic_actor import StochasticActor
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.modules.value_network import ValueNetwork
from flowpolicy.modules.velocity_field import VelocityField
from flowpolicy.paths.affine import AffinePath
from flowpolicy.paths.path import Path, PathSample
from flowpolicy.paths.schedules import Schedule

T = TypeVar("T")
Critic = CriticEnsemble | NoisyCriticEnsemble | ScaledActionCritic | TargetNetwork
Network = Actor | VelocityField | NoisePredictor | Critic | ValueNetwork


class EvaluatedBatch:
    """A batch, and what the losses have already computed from it.

    Losses and weights ask it for entries of the batch and for what networks make of them. What
    several of them need (the policy's action, the teacher's action, the critics' values of either)
    is computed for the first who asks, so the order of the losses does not matter; only a critic
    whose value of a policy's action is asked for without gradient first and with it later runs
    twice. The same network is recognised as the same object: two samplers around one field are two
    actors. A result carries gradient to the parameters of exactly those networks that are ``live``;
    whoever wants none detaches it.

    Args:
        batch: the TensorDict; it is read, never written.
        keys: the names of its entries.
        live: the networks and actors that are trained with this batch.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from flowpolicy.modules import OneStepActor
        >>> actor = OneStepActor(3, 2, hidden=(8,))
        >>> td = TensorDict(observation=torch.zeros(4, 3), noise=torch.randn(4, 2), batch_size=[4])
        >>> evaluated = EvaluatedBatch(td, BatchKeys(), live=[actor])
        >>> evaluated.raw_action(actor) is evaluated.raw_action(actor)
        True
    """

    def __init__(
        self, batch: TensorDictBase, keys: BatchKeys, live: Iterable[nn.Module] = ()
    ) -> None:
        self.batch = batch
        self.keys = keys
        self._live = {id(module) for module in live}
        self._results: dict[tuple[object, ...], Any] = {}
        self._asked: list[object] = []  # kept: another object could get the id of one that is gone
        self._grad = torch.is_grad_enabled()  # whoever asks first may do so without gradient

    def using(self, keys: BatchKeys) -> EvaluatedBatch:
        """The same batch read through other names; it shares results where they agree."""
        view = EvaluatedBatch(self.batch, keys)
        view._live, view._results, view._grad = self._live, self._results, self._grad
        view._asked = self._asked
        return view

    # -- entries of the batch ------------------------------------------------------------------

    def read(self, owner: str, key: NestedKey, last_dim: int) -> Tensor:
        """The entry ``key`` ``[*B, last_dim]``, refused where it is missing or of another shape."""
        value = entry(owner, self.batch, key)
        if value.numel() == 0 and last_dim > 0:
            raise ShapeError(
                f"{owner}: {key!r} is empty, {list(value.shape)}; give at least one row."
            )
        require_last_dim(owner, str(key), value, last_dim)
        if value.is_complex():
            raise DtypeError(f"{owner}: {key!r} is {value.dtype}; real numbers are needed.")
        if value.shape[:-1] != self.batch_shape:  # it would broadcast without a word
            raise ShapeError(
                f"{owner}: {key!r} must be {[*self.batch_shape, last_dim]} to go with "
                f"{self.keys.observation!r}, got {list(value.shape)}. Flatten chunks to "
                "one action; per-sample scalars keep a last dimension of 1."
            )
        return value

    @property
    def batch_shape(self) -> torch.Size:
        """``*B``: that of the observation."""
        observation: Tensor | None = self.batch.get(self.keys.observation, None)
        return torch.Size(self.batch.batch_size) if observation is None else observation.shape[:-1]

    def observation(self, network: Network) -> Tensor:
        """``[*B, O]`` for ``network``."""
        network = unfrozen(network)
        return self.read(type(network).__name__, self.keys.observation, network.obs_dim)

    def next_observation(self, network: Network) -> Tensor:
        """``[*B, O]`` at the end of the transition, for ``network``."""
        network = unfrozen(network)
        return self.read(type(network).__name__, next_key(self.keys.observation), network.obs_dim)

    def action(self, network: Actor | VelocityField | NoisePredictor | Critic) -> Tensor:
        """The action of the data, ``[*B, A]``, for ``network``."""
        network = unfrozen(network)
        return self.read(type(network).__name__, self.keys.action, network.act_dim)

    def valid(self, owner: str) -> Tensor | None:
        """Which rows hold an action that was played, ``[*B, 1]``; ``None`` where all do."""
        if self.batch.get(self.keys.valid, None) is None:
            return None
        return self.read(owner, self.keys.valid, 1).bool()

    def noise(self, key: NestedKey, actor: Actor) -> Tensor:
        """The noise under ``key`` that ``actor`` needs; empty where it needs none."""
        if not actor.is_random:
            return actor.no_noise(self.observation(actor))
        return entry(actor.name, self.batch, key)

    def x0(self, network: VelocityField | NoisePredictor | Critic) -> Tensor:
        """The noise that a path begins with, ``[*B, A]``, for ``network``."""
        network = unfrozen(network)
        return self.read(type(network).__name__, self.keys.x0, network.act_dim)

    def time(self, network: VelocityField | NoisePredictor | Critic) -> Tensor:
        """The flow time, ``[*B, 1]``, for ``network``."""
        return self.read(type(unfrozen(network)).__name__, self.keys.time, 1)

    def path_sample(
        self, network: VelocityField | NoisePredictor | Critic, path: Path
    ) -> PathSample:
        """Where the noise is at the flow time on its way to the data's action, for ``network``."""
        return path.sample(self.x0(network), self.action(network), self.time(network))

    # -- what networks make of them ------------------------------------------------------------

    def raw_action(self, actor: Actor) -> Tensor:
        """The unclipped action of ``actor`` at the batch's observation and noise, ``[*B, A]``."""
        actor = unfrozen(actor)

        def compute() -> Tensor:
            if isinstance(actor, ModeActor):
                return self.distribution(actor.actor).mode
            observation, noise = self.observation(actor), self.noise(self.keys.noise, actor)
            if not isinstance(actor, StochasticActor):
                raw = actor.raw(observation, noise)
                return checked(actor, "raw", raw, (*self.batch_shape, actor.act_dim))
            if isinstance(actor, DensityActor):
                actor.check_inputs(observation, noise)
                distribution = self.distribution(actor)
                action, log_prob = actor.sample_from(distribution, observation, noise)
            else:
                action, log_prob = actor.sample(observation, noise)
            self._results[self._key("log_prob", actor, actor)] = log_prob
            return action

        return self._once("raw_action", actor, actor, compute, live=self._is_live(actor))

    def log_prob(self, actor: StochasticActor) -> Tensor:
        """The log-probability of what ``actor`` draws at the batch's observation and noise."""
        actor = unfrozen(actor)
        self.raw_action(actor)
        return cast("Tensor", self._results[self._key("log_prob", actor, actor)])

    def distribution(self, actor: DensityActor) -> ActionDistribution:
        """The distribution of the actor's action at the batch's observation."""
        actor = unfrozen(actor)

        def compute() -> ActionDistribution:
            return actor.distribution(self.observation(actor))

        return self._once("distribution", actor, actor, compute, live=self._is_live(actor))

    def policy_action(self, actor: Actor) -> Tensor:
        """The clipped action of ``actor``, ``[*B, A]`` in [-1, 1]."""
        return self.raw_action(actor).clamp(-1, 1)

    def policy_values(self, critic: Critic, actor: Actor) -> Tensor:
        """The values of the action of ``actor``, ``[E, *B, 1]``, with gradient to the actor only.

        Ask with a ``frozen`` view of the critic that was made outside of this: making one within
        a compiled graph is not possible.
        """
        view, actor = frozen(critic), unfrozen(actor)

        def compute() -> Tensor:
            return values_of(view, self.observation(critic), self.policy_action(actor))

        live = self._is_live(actor)
        return self._once("policy_values", unfrozen(critic), actor, compute, live=live)

    def reference_values(self, critic: Critic, actor: Actor) -> Tensor:
        """The values of the action of ``actor``, ``[E, *B, 1]``, without any gradient."""
        critic, actor = unfrozen(critic), unfrozen(actor)
        known = self._results.get(self._key("policy_values", critic, actor))
        if known is not None:
            return cast("Tensor", known).detach()

        def compute() -> Tensor:
            return values_of(critic, self.observation(critic), self.policy_action(actor).detach())

        return self._once("reference_values", critic, actor, compute, live=False)

    def data_values(self, critic: Critic) -> Tensor:
        """The values of the data's action, ``[E, *B, 1]``."""
        critic = unfrozen(critic)

        def compute() -> Tensor:
            return values_of(critic, self.observation(critic), self.action(critic))

        return self._once("data_values", critic, critic, compute, live=self._is_live(critic))

    def state_values(self, value: ValueNetwork | TargetNetwork) -> Tensor:
        """The value of the observation, ``[*B, 1]``."""
        value = unfrozen(value)

        def compute() -> Tensor:
            return state_values_of(value, self.observation(value))

        return self._once("state_values", value, value, compute, live=self._is_live(value))

    def next_state_values(self, value: ValueNetwork | TargetNetwork) -> Tensor:
        """The value of the next observation, ``[*B, 1]``, without any gradient."""
        value = unfrozen(value)

        def compute() -> Tensor:
            return state_values_of(value, self.next_observation(value))

        return self._once("next_state_values", value, value, compute, live=False)

    def next_action(self, actor: Actor) -> Tensor:
        """The action of ``actor`` in a Bellman target, ``[*B, A]``, without any gradient."""
        actor = unfrozen(actor)

        def compute() -> Tensor:
            return actor.bootstrap(
                self.observation(actor),
                self.next_observation(actor),
                self.noise(next_key(self.keys.noise), actor),
            )

        return self._once("next_action", actor, actor, compute, live=False)

    def noisy_action(self, predictor: NoisePredictor, schedule: Schedule) -> Tensor:
        """The data's action, mixed with noise by ``schedule`` at the batch's time, ``[*B, A]``."""
        return self.path_sample(predictor, AffinePath(schedule)).x_t

    def noise_prediction(self, predictor: NoisePredictor, schedule: Schedule) -> Tensor:
        """The noise that ``predictor`` finds in ``noisy_action``, ``[*B, A]``."""

        def compute() -> Tensor:
            x_t = self.noisy_action(predictor, schedule)
            found = predictor.predict(self.observation(predictor), x_t, self.time(predictor))
            return checked(predictor, "predict", found, x_t.shape)

        what = f"noise_prediction at {self.keys.x0} and {self.keys.time}"
        return self._once(what, predictor, schedule, compute, live=self._is_live(predictor))

    # -- at most once --------------------------------------------------------------------------

    def once(self, asker: object, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, kept for whoever asks for the same object again."""
        return self._kept(("of", id(asker)), [asker], compute)

    def _is_live(self, module: nn.Module) -> bool:
        return id(module.trained if isinstance(module, Actor) else module) in self._live

    def _key(self, what: str, first: nn.Module, second: object) -> tuple[object, ...]:
        names = (self.keys.observation, self.keys.action, self.keys.noise)
        return (what, id(first), id(second), *names)

    def _once(
        self,
        what: str,
        first: nn.Module,
        second: object,
        compute: Callable[[], T],
        *,
        live: bool,
    ) -> T:
        def computed() -> T:
            with torch.set_grad_enabled(live and self._grad):
                return compute()

        return self._kept(self._key(what, first, second), [first, second], computed)

    def _kept(
        self, key: tuple[object, ...], askers: Sequence[object], compute: Callable[[], T]
    ) -> T:
        if key not in self._results:
            self._asked += askers  # which keeps their ids their own
            self._results[key] = compute()
        return cast("T", self._results[key])
