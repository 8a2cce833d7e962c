"""A slow copy of a network."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast, final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_at_least, require_instance


@torch.no_grad()
def polyak_(targets: list[Tensor], sources: list[Tensor], tau: float) -> None:
    r"""Moves every target towards its source.

    .. math:: \bar\phi \leftarrow (1 - \tau)\,\bar\phi + \tau\,\phi

    Args:
        targets: written.
        sources: of the same shapes.
        tau: the share of the sources.
    """
    torch._foreach_lerp_(targets, sources, tau)


@final
class TargetNetwork(TensorDictModuleBase):
    r"""A copy of a network that follows it by Polyak averaging.

    .. math:: \bar\phi \leftarrow (1 - \tau)\,\bar\phi + \tau\,\phi

    It starts as an exact copy, its parameters never require gradient, and ``update`` is one fused
    operation over all of them. It is asked like the copied network (``values``, ``velocity``,
    ``act``, ...), so it stands wherever that would: the target of a critic, of a field within a
    sampler, of an actor. As a TensorDict module it does what the copied network does. Only its
    parameters follow: buffers, such as the statistics of a BatchNorm, stay as they were copied.

    Args:
        network: the online network; it is followed, not owned.
        tau: the share of the online parameters in each update, in (0, 1].
        after_step: whether ``Agent`` updates it after the optimizer's step, towards the new
            parameters, instead of before, towards those that the losses were evaluated with. The
            authors' code of FQL, GFP and QAM does the latter, TorchRL's recipes the former; they
            differ by a lag of one step.
        every: ``Agent`` and ``PolyakUpdater`` update it in every n-th update only.

    Raises:
        ConfigError: ``tau`` outside (0, 1], ``every`` below 1, or a network that is no module with
            parameters or holds a ``TargetNetwork`` itself.

    Example:
        >>> import torch
        >>> from flowpolicy.modules import CriticEnsemble
        >>> critic = CriticEnsemble(3, 2, hidden=(8,))
        >>> target = TargetNetwork(critic, tau=0.5)
        >>> with torch.no_grad():
        ...     _ = critic.net[-1].bias.add_(1.0)
        >>> target.update()
        >>> target.network.net[-1].bias.flatten()
        tensor([0.5000, 0.5000])
    """

    __repr__ = nn.Module.__repr__  # TensorDict's own leaves out extra_repr

    def __init__(
        self,
        network: nn.Module,
        tau: float = 0.005,
        *,
        after_step: bool = False,
        every: int = 1,
    ) -> None:
        super().__init__()
        require_instance(
            "TargetNetwork",
            "network",
            network,
            nn.Module,
            "Pass a network, such as CriticEnsemble.",
        )
        if next(network.parameters(), None) is None:
            raise ConfigError(
                f"TargetNetwork: network has no parameters to follow, got {type(network).__name__}."
                " Pass a network, such as CriticEnsemble."
            )
        if any(isinstance(part, TargetNetwork) for part in network.modules()):
            raise ConfigError(
                f"TargetNetwork: network is a {type(network).__name__} that holds a TargetNetwork "
                "already, whose copy nothing would move. Build the target of the online network, "
                "and put it in that one's place in a part of its own."
            )
        if not 0 < tau <= 1:
            raise ConfigError(f"TargetNetwork: tau must be in (0, 1], got {tau!r}.")
        self.tau = tau
        self.after_step = after_step
        self.every = require_at_least("TargetNetwork", "every", every, 1)
        self.network = deepcopy(network).requires_grad_(False)
        self._source = (network,)  # in a tuple: followed, not registered as a submodule

    @property
    def in_keys(self) -> list[Any]:
        """Those of the copied network."""
        return getattr(self.network, "in_keys", [])

    @property
    def out_keys(self) -> list[Any]:
        """Those of the copied network."""
        return getattr(self.network, "out_keys", [])

    def set_keys(self, **names: Any) -> TargetNetwork:
        """Renames the entries that the copied network reads and writes. Returns the target.

        Raises:
            ConfigError: the network is one whose entries are not renamed so, such as a critic.
        """
        if not hasattr(self.network, "set_keys"):
            raise ConfigError(
                f"TargetNetwork: {type(self.network).__name__} has no set_keys, as actors do. Name "
                "what the copy reads and writes with target.network.in_keys and out_keys."
            )
        cast("Any", self.network).set_keys(**names)
        return self

    @property
    def source(self) -> nn.Module:
        """The online network."""
        return self._source[0]

    def __getattr__(self, name: str) -> Any:
        """What it lacks itself is the copy's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "network" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self._modules["network"], name)

    def update(self) -> None:
        """Move towards the online network by ``tau``."""
        polyak_(list(self.network.parameters()), list(self.source.parameters()), self.tau)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What the copied network writes."""
        out: TensorDictBase = self.network(tensordict)
        return out

    def extra_repr(self) -> str:
        """How it follows."""
        return f"tau={self.tau}, after_step={self.after_step}, every={self.every}"
