"""One optimizer for the parameters of several agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from flowpolicy.agents.guarded_step import count_beside
from flowpolicy.agents.likeness import difference
from flowpolicy.errors import ConfigError

ELEMENTWISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
)
"""Optimizers that treat every element of a parameter on its own."""

NUMBERS = ("step", "mu_product")
"""What they keep once for a whole parameter; all else is one number for each element."""


_ITS_OWN = ("params", "param_names", "capturable")
"""Of an optimizer's group, what is not an option that all share."""


@final
class StackedOptimizer:
    """Steps stacked parameters; each agent's optimizer keeps its state, as views of the stacked.

    ``together`` says whether the agents' optimizers hold states of equally many steps, which one
    step can serve.

    Args:
        optimizers: one of each agent, with equal options.
        members: each agent's parameters by name.
        stacked: the parameters of all, ``[S, *shape]``, by name.

    Raises:
        ConfigError: an optimizer that is not elementwise, or optimizers with other options.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        members: Sequence[Mapping[str, nn.Parameter]],
        stacked: Mapping[str, nn.Parameter],
    ) -> None:
        first = optimizers[0]
        if type(first) not in ELEMENTWISE:
            known = ", ".join(kind.__name__ for kind in ELEMENTWISE)
            raise ConfigError(
                f"AgentStack: {type(first).__name__} may mix the agents' parameters. Use one that "
                f"treats every element on its own: {known}."
            )
        for i, other in enumerate(optimizers[1:], start=1):
            differs = difference(_options(first), _options(other), "optimizer")
            if differs is not None:
                raise ConfigError(
                    f"AgentStack: the optimizers of agents 0 and {i} differ in {differs}."
                )
        self._optimizers = tuple(optimizers)
        self._members = {
            parameter: [each[name] for each in members] for name, parameter in stacked.items()
        }
        of_first = {id(members[0][name]): parameter for name, parameter in stacked.items()}
        groups = [
            {
                **{
                    key: value
                    for key, value in group.items()
                    if key not in ("params", "param_names")
                },
                "params": [of_first[id(p)] for p in group["params"]],
            }
            for group in first.param_groups
        ]
        self._optimizer = cast("type[Any]", type(first))(groups)
        # Numbers of a whole parameter, such as its steps, and their copies for each agent.
        self._numbers: dict[Tensor, list[tuple[Tensor, Tensor]]] = {}
        self.together = self._gather()

    @property
    def whole(self) -> torch.optim.Optimizer:
        """That of the stacked parameters."""
        return cast("torch.optim.Optimizer", self._optimizer)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The options, as torch's optimizers hold them."""
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        return groups

    def parameters(self) -> Iterator[nn.Parameter]:
        """The stacked parameters."""
        yield from self._members

    def members(self) -> list[list[nn.Parameter]]:
        """Each agent's own."""
        return [list(each) for each in zip(*self._members.values(), strict=True)]

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for parameter in self._members:
            parameter.grad = None

    def hand_over(self, i: int) -> None:
        """Gives an agent's own optimizer its gradients and the options.

        Args:
            i: which agent's.
        """
        for parameter, members in self._members.items():
            members[i].grad = None if parameter.grad is None else parameter.grad[i]
        self._tell(i)

    def _tell(self, i: int) -> None:
        """Lets an agent's optimizer have the options of the whole, such as the learning rate."""
        for own, group in zip(self._optimizers[i].param_groups, self.param_groups, strict=True):
            own.update({k: v for k, v in group.items() if k not in _ITS_OWN})

    def share(self) -> None:
        """Lets every agent's optimizer see how far the step brought it, and by which options."""
        for i in range(len(self._optimizers)):
            self._tell(i)
        if len(self._numbers) < len(self._optimizer.state):  # some had their first step
            self._share()
        pairs = [pair for numbers in self._numbers.values() for pair in numbers]
        if pairs:
            copies, originals = zip(*pairs, strict=True)
            torch._foreach_copy_(copies, originals)

    def _gather(self) -> bool:
        """Takes over what the agents' optimizers hold, where that is of equally many steps."""
        gathered = {}
        for parameter, members in self._members.items():
            states = [o.state.get(p, {}) for o, p in zip(self._optimizers, members, strict=True)]
            differs = next(filter(None, (difference(states[0], s, "state") for s in states)), None)
            steps = {int(s["step"]) for s in states if "step" in s}
            if differs is not None or len(steps) > 1:
                return False
            if states[0]:
                gathered[parameter] = {
                    key: value if key in NUMBERS else torch.stack([s[key] for s in states])
                    for key, value in states[0].items()
                }
        self._optimizer.state.update(gathered)
        count_beside(self._optimizer)
        self._share()
        return True

    def _share(self) -> None:
        """Gives every agent's optimizer its part of the state, as views."""
        for parameter, state in self._optimizer.state.items():
            if parameter in self._numbers:
                continue
            parts, numbers = dict(state), []
            for key, value in state.items():
                if key in NUMBERS:
                    parts[key] = value.expand(len(self._optimizers)).clone()
                    numbers.append((parts[key], value.expand(len(self._optimizers))))
            self._numbers[parameter] = numbers
            members = self._members[cast("nn.Parameter", parameter)]
            for i, (own, member) in enumerate(zip(self._optimizers, members, strict=True)):
                own.state[member] = {key: value[i] for key, value in parts.items()}


def _number(value: object) -> object:
    """A tensor of one element, such as a learning rate, by its value."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _options(optimizer: torch.optim.Optimizer) -> list[dict[str, object]]:
    return [
        {
            **{key: _number(value) for key, value in group.items() if key != "params"},
            "params": [tuple(p.shape) for p in group["params"]],
        }
        for group in optimizer.param_groups
    ]
