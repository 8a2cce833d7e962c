"""Other optimizer settings for some networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch import nn

from flowpolicy.errors import unknown_name


@final
class ParameterGroups:
    """Makes an optimizer with a parameter group for each network that has settings of its own.

    Args:
        optimizer: makes an optimizer of parameter groups, e.g. ``partial(torch.optim.Adam,
            lr=3e-4)``; its settings hold wherever none are given.
        settings: by role, as in ``agent.networks``.

    Raises:
        ConfigError: settings for a role that has no trained network (when the agent is built).

    Example:
        >>> from functools import partial
        >>> import torch
        >>> import flowpolicy as fp
        >>> actor, critic = fp.DeterministicActor(3, 2), fp.CriticEnsemble(3, 2)
        >>> agent = fp.Agent(
        ...     policy=actor,
        ...     losses=[
        ...         fp.DPGLoss(actor, critic),
        ...         fp.TDLoss(critic, fp.TargetNetwork(critic), next_actor=actor),
        ...     ],
        ...     optimizer=fp.ParameterGroups(
        ...         partial(torch.optim.Adam, lr=3e-4), {"critic": {"lr": 5e-5}}
        ...     ),
        ... )
        >>> [group["lr"] for group in agent.optimizer.param_groups]
        [0.0003, 5e-05]
    """

    def __init__(
        self,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        settings: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.optimizer = optimizer
        self.settings = {role: dict(each) for role, each in settings.items()}

    def __call__(self, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        """The optimizer of parameters named ``networks.<role>. ...``."""
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {}
        roles = set()
        for name, parameter in named:
            role = name.split(".")[1]
            roles.add(role)
            group = role if role in self.settings else ""
            groups.setdefault(group, []).append((name, parameter))
        for role in self.settings:
            if role not in roles:
                raise unknown_name("network to optimize", role, roles)
        return self.optimizer(
            [
                {"params": parameters, **self.settings.get(role, {})}
                for role, parameters in groups.items()
            ]
        )
