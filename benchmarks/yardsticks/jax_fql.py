r"""Flow Q-learning in plain JAX: the whole update as one jitted program.

.. math::
    y &= r + \gamma (1 - \text{terminated})\,
        \tfrac12 \textstyle\sum_k \bar Q_k(s', \mathrm{clip}(\mu_\omega(s', z'))) \\
    L &= \big\langle (Q_k(s, a) - y)^2 \big\rangle_{k, B}
        + \big\langle (v_\theta(s, x_t, t) - (a - x_0))^2 \big\rangle_{B, A} \\
      &\quad + \alpha \big\langle (\mu_\omega(s, z)
        - \mathrm{sg}[\mathrm{clip}(\mathrm{ODE}_\theta(s, z))])^2 \big\rangle_{B, A}
        - \big\langle Q_k(s, \mathrm{clip}(\mu_\omega(s, z))) \big\rangle_{k, B}

A yardstick: losses, one backward pass of their sum, Adam, the targets' step (towards the parameters
of before it) and the drawing of noise in one call, whose state is donated. Nothing beyond JAX.

Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Network = list[dict[str, jax.Array]]  # layer by layer: kernel, bias; scale, shift where normalised
Metrics = dict[str, jax.Array]


class Settings(NamedTuple):
    """The numbers of the method; constants of the compiled program."""

    flow_steps: int = 10
    alpha: float = 10.0
    discount: float = 0.99
    tau: float = 0.005
    lr: float = 3e-4


class State(NamedTuple):
    """All that an update changes."""

    params: dict[str, Network]  # actor, critic (ensemble first), field
    target: Network
    mean: dict[str, Network]
    square: dict[str, Network]
    step: jax.Array
    key: jax.Array


class Batch(NamedTuple):
    """Transitions ``[B, ...]``."""

    observation: jax.Array
    action: jax.Array
    next_observation: jax.Array
    reward: jax.Array
    terminated: jax.Array


class Draws(NamedTuple):
    """The noise of one update, ``[B, A]``, and its times, ``[B, 1]``."""

    next_noise: jax.Array
    x0: jax.Array
    time: jax.Array
    noise: jax.Array


def initial(
    seed: int, obs_dim: int, act_dim: int, hidden: Sequence[int] = (512,) * 4, critics: int = 2
) -> State:
    """Networks with Xavier-uniform weights, targets equal to the critics, Adam at rest."""
    key, actor, critic, field = jax.random.split(jax.random.key(seed), 4)
    members = jax.random.split(critic, critics)
    params = {
        "actor": _network(actor, [obs_dim + act_dim, *hidden, act_dim]),
        "critic": jax.vmap(partial(_network, sizes=[obs_dim + act_dim, *hidden, 1], norm=True))(
            members
        ),
        "field": _network(field, [obs_dim + act_dim + 1, *hidden, act_dim]),
    }
    return start(params, jax.tree.map(jnp.copy, params["critic"]), key)


def start(params: dict[str, Network], target: Network, key: jax.Array) -> State:
    """The state before the first update of these networks."""
    zeros = partial(jax.tree.map, jnp.zeros_like)
    return State(params, target, zeros(params), zeros(params), jnp.zeros((), jnp.int32), key)


def draw(key: jax.Array, like: jax.Array) -> Draws:
    """The noise of an update for actions of the shape of ``like``."""
    next_noise, x0, time, noise = jax.random.split(key, 4)
    normal = partial(jax.random.normal, shape=like.shape, dtype=like.dtype)
    times = jax.random.uniform(time, (like.shape[0], 1), like.dtype)
    return Draws(normal(next_noise), normal(x0), times, normal(noise))


def losses(
    params: dict[str, Network], target: Network, batch: Batch, draws: Draws, settings: Settings
) -> tuple[jax.Array, Metrics]:
    """The sum of all losses, and each of them."""
    fixed = jax.lax.stop_gradient(params)
    s, a = batch.observation, batch.action

    next_action = jnp.clip(_apply(fixed["actor"], batch.next_observation, draws.next_noise), -1, 1)
    next_value = _values(target, batch.next_observation, next_action).mean(axis=0)
    y = batch.reward + settings.discount * (1 - batch.terminated) * next_value
    loss_qvalue = jnp.square(_values(params["critic"], s, a) - y).mean()

    x_t = (1 - draws.time) * draws.x0 + draws.time * a
    velocity = _apply(params["field"], s, x_t, draws.time)
    loss_flow = jnp.square(velocity - (a - draws.x0)).mean()

    x, h = draws.noise, 1 / settings.flow_steps
    for i in range(settings.flow_steps):
        x = x + h * _apply(fixed["field"], s, x, jnp.full_like(draws.time, i * h))
    raw = _apply(params["actor"], s, draws.noise)
    distill_error = jnp.square(raw - jnp.clip(x, -1, 1)).mean()
    loss_dpg = -_values(fixed["critic"], s, jnp.clip(raw, -1, 1)).mean()

    metrics = {
        "loss_qvalue": loss_qvalue,
        "loss_flow": loss_flow,
        "distill_error": distill_error,
        "loss_dpg": loss_dpg,
    }
    return loss_qvalue + loss_flow + settings.alpha * distill_error + loss_dpg, metrics


def update_given(
    state: State, batch: Batch, draws: Draws, settings: Settings
) -> tuple[State, Metrics]:
    """One gradient step under given draws."""
    gradients, metrics = jax.grad(losses, has_aux=True)(
        state.params, state.target, batch, draws, settings
    )
    step = state.step + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, gradients)
    square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state.square, gradients)
    scale = settings.lr / (1 - 0.9**step)
    correction = 1 - 0.999**step
    params = jax.tree.map(
        lambda p, m, v: p - scale * m / (jnp.sqrt(v / correction) + 1e-8),
        state.params,
        mean,
        square,
    )
    tau = settings.tau
    target = jax.tree.map(
        lambda old, new: (1 - tau) * old + tau * new, state.target, state.params["critic"]
    )
    return State(params, target, mean, square, step, state.key), metrics


@partial(jax.jit, static_argnames="settings", donate_argnames="state")
def update(state: State, batch: Batch, settings: Settings = Settings()) -> tuple[State, Metrics]:
    """One gradient step; draws its noise. The state given is used up."""
    key, now = jax.random.split(state.key)
    return update_given(state._replace(key=key), batch, draw(now, batch.action), settings)


class Updater:
    """Holds the state, so that a step is a call without arguments.

    Args:
        batch: numpy arrays by the names of ``Batch``.
        hidden: hidden sizes of every network.
        settings: of the method.
        device: a platform of JAX.
    """

    def __init__(
        self,
        batch: dict[str, Any],
        hidden: Sequence[int],
        settings: Settings = Settings(),
        device: str = "cpu",
    ) -> None:
        place = partial(jax.device_put, device=jax.devices(device)[0])
        self.batch = place(Batch(**{name: jnp.asarray(value) for name, value in batch.items()}))
        obs_dim, act_dim = self.batch.observation.shape[-1], self.batch.action.shape[-1]
        self.state = place(initial(0, obs_dim, act_dim, hidden))
        self.settings = settings

    def enqueue(self) -> Metrics:
        """One update, not waited for."""
        self.state, metrics = update(self.state, self.batch, self.settings)
        return metrics

    def __call__(self) -> Metrics:
        """One update, waited for with all before it."""
        metrics = self.enqueue()
        jax.block_until_ready(self.state)
        return metrics


def _network(key: jax.Array, sizes: Sequence[int], *, norm: bool = False) -> Network:
    """Xavier-uniform kernels and zero biases; hidden layers are normalised where ``norm``."""
    layers = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        key, now = jax.random.split(key)
        bound = (6 / (fan_in + fan_out)) ** 0.5
        layer = {
            "kernel": jax.random.uniform(now, (fan_in, fan_out), minval=-bound, maxval=bound),
            "bias": jnp.zeros(fan_out),
        }
        if norm and i < len(sizes) - 2:
            layer |= {"scale": jnp.ones(fan_out), "shift": jnp.zeros(fan_out)}
        layers.append(layer)
    return layers


def _apply(network: Network, *inputs: jax.Array) -> jax.Array:
    """Linear, tanh-GELU, LayerNorm where there is one; the last layer is linear."""
    x = jnp.concatenate(inputs, axis=-1)
    for layer in network[:-1]:
        x = jax.nn.gelu(x @ layer["kernel"] + layer["bias"], approximate=True)
        if "scale" in layer:
            centred = x - x.mean(axis=-1, keepdims=True)
            variance = jnp.square(centred).mean(axis=-1, keepdims=True)
            x = centred * jax.lax.rsqrt(variance + 1e-6) * layer["scale"] + layer["shift"]
    return x @ network[-1]["kernel"] + network[-1]["bias"]


def _values(critics: Network, observation: jax.Array, action: jax.Array) -> jax.Array:
    """``[E, B]``."""
    return jax.vmap(_apply, in_axes=(0, None, None))(critics, observation, action).squeeze(-1)
