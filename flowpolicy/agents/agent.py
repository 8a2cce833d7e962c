"""Losses, targets, an optimizer and a policy, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import final

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from flowpolicy.agents.noise_source import NoiseSource
from flowpolicy.errors import ConfigError
from flowpolicy.losses.base import Loss
from flowpolicy.losses.sum import SumLoss
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.target_network import TargetNetwork

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
        seed: of the noise that ``update`` draws.

    Raises:
        ConfigError: two networks in one role, two losses of one name, or contradicting draws.

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
        seed: int = 0,
    ) -> None:
        super().__init__()
        # In __dict__: both are views of networks that are registered below, each once.
        self.__dict__["loss"] = SumLoss(losses, policy)
        self.__dict__["policy"] = policy
        self.__dict__["actors"] = {"policy": policy, **(actors or {})}
        self.networks = nn.ModuleDict(_owned_networks(self.loss, policy, networks or {}))
        roles = {id(network): role for role, network in self.networks.items()}
        self.targets = nn.ModuleDict()
        for target in self.loss.targets():
            role = roles.get(id(target.source))
            if role is None:
                raise ConfigError(
                    f"Agent: a TargetNetwork follows a {type(target.source).__name__} that no loss "
                    "trains. Build it from the network that is passed to the loss."
                )
            self.targets[role] = target
        self.optimizer = optimizer(list(self.trained_parameters()))
        self.noise = NoiseSource(seed)
        self.step = 0

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that some loss trains, each once, with their names in the state dict."""
        trained = {id(p) for _, network in self.loss.trained() for p in network.parameters()}
        for name, parameter in self.networks.named_parameters(prefix="networks"):
            if id(parameter) in trained:
                yield name, parameter

    def update(self, batch: TensorDictBase) -> TensorDictBase:
        """One gradient step on a batch.

        Args:
            batch: with what the losses read; never written. Noise and times are drawn where absent.

        Returns:
            Every loss and metric, detached, of batch size ``[]``. Nothing is read back from the
            device.
        """
        batch = self.noise.fill(batch, self.loss.draws(), self.loss.tensor_keys)
        metrics: TensorDictBase = self.loss(batch)
        total = torch.stack([value for key, value in metrics.items() if key.startswith("loss")])
        self.optimizer.zero_grad(set_to_none=True)
        total.sum().backward()
        self._update_targets(after_step=False)
        self.optimizer.step()
        self._update_targets(after_step=True)
        self.step += 1
        return metrics.detach()

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor | None = None) -> Tensor:
        """The policy's action, ``observation [*B, O] -> [*B, A]``; absent noise is drawn."""
        if noise is None:
            noise = self.policy.draw_noise(observation)
        return self.policy.act(observation, noise)

    def _update_targets(self, *, after_step: bool) -> None:
        for target in self.targets.values():
            if isinstance(target, TargetNetwork) and target.after_step == after_step:
                target.update()

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: bool, **kwargs: bool) -> Agent:
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        # Coefficients and temperatures live in the losses, which are not registered here.
        self.loss._apply(fn)  # noqa: SLF001
        for state in self.optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    moved = fn(value)
                    # Adam counts its steps in float32 whatever the parameters are.
                    state[key] = moved.to(value.dtype) if key == "step" else moved
        return self

    def extra_repr(self) -> str:
        """The losses by name."""
        return f"losses={[loss.name for loss in self.loss.losses]}, step={self.step}"


def _owned_networks(
    loss: SumLoss, policy: Actor, named: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """Every network behind the losses and the policy, each once, by role.

    A network whose parameters all belong to others already (a sampler around a field, best-of-N
    around a flow and a critic) is a view of those and gets no role. Smaller modules therefore come
    first.
    """
    candidates: list[tuple[str, nn.Module]] = list(loss.trained())
    for each in loss.losses:
        candidates += [
            (role.rstrip("s"), network)
            for role, network in each.frozen_networks()
            if not isinstance(network, TargetNetwork)
        ]
    candidates.append(("policy", policy))
    candidates.sort(key=lambda item: sum(1 for _ in item[1].modules()))

    owned: dict[str, nn.Module] = dict(named)
    covered = {id(p) for network in owned.values() for p in network.parameters()}
    trained_roles = {id(network): role for role, network in reversed(list(loss.trained()))}
    for fallback_role, network in candidates:
        if all(id(p) in covered for p in network.parameters()):
            continue
        role = trained_roles.get(id(network), fallback_role)
        if role in owned:
            raise ConfigError(
                f"Agent: two different networks are called {role!r} "
                f"({type(owned[role]).__name__} and {type(network).__name__}). "
                f"Name them with networks={{'my_{role}': ..., ...}}."
            )
        owned[role] = network
        covered |= {id(p) for p in network.parameters()}
    return owned
