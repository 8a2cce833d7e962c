"""Polyak averaging for TorchRL's Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torchrl.objectives import TargetNetUpdater

from flowpolicy.errors import ConfigError
from flowpolicy.losses.base import Loss
from flowpolicy.losses.sum import SumLoss


@final
class PolyakUpdater(TargetNetUpdater):
    r"""Updates the target networks that a loss reads, as TorchRL's ``TargetNetUpdater``.

    .. math:: \bar\phi \leftarrow (1 - \tau)\,\bar\phi + \tau\,\phi

    ``tau`` and ``every`` are each target network's own. ``Agent.update`` does this by itself; this
    object is for a ``Trainer``: register it on the stage ``post_optim`` for one update of the
    targets per optimizer step, and with ``register_module`` for the count of steps, which ``every``
    asks about. The targets themselves are in the state dict of the loss.

    Args:
        loss_module: an agent's loss, or a single one.

    Raises:
        ConfigError: a loss without target networks.

    Example:
        >>> import flowpolicy as fp
        >>> agent = fp.agents.fql(3, 2, hidden=(16,))
        >>> PolyakUpdater(agent.loss).step()
    """

    def __init__(self, loss_module: SumLoss | Loss) -> None:
        # Not super().__init__: it looks for functional parameters named target_*_params.
        self.targets = loss_module.target_networks()
        if not self.targets:
            raise ConfigError(
                f"PolyakUpdater: {type(loss_module).__name__} reads no TargetNetwork, so there is "
                "nothing to update."
            )
        self.loss_module = loss_module
        self.steps = 0
        self.initialized = True

    def init_(self) -> None:
        """Nothing to do: target networks start as exact copies."""

    def step(self, *_: Any) -> None:
        """One Polyak step of every target network whose turn it is."""
        self.steps += 1
        for target in self.targets:
            if self.steps % target.every == 0:
                target.update()

    def state_dict(self) -> dict[str, int]:
        """The number of steps, for ``trainer.register_module``; the loss's holds the targets."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue counting from a saved state."""
        self.steps = state["steps"]

    def __repr__(self) -> str:
        return f"PolyakUpdater(targets={len(self.targets)})"
