"""The value of a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor

from flowpolicy.errors import require_input, require_obs_dim
from flowpolicy.modules.keys import entry
from flowpolicy.modules.mlp import Activation, TanhGELU, like, mlp


@final
class ValueNetwork(TensorDictModuleBase):
    r"""The value of an observation.

    .. math:: V_\psi(s) = \mathrm{MLP}(s)

    As a TensorDict module it reads ``observation`` and writes ``state_value``.

    Args:
        obs_dim: ``O``.
        hidden: hidden sizes.
        layer_norm: a LayerNorm after each activation.
        activation: makes an activation.

    Raises:
        ConfigError: a size that is no whole number of at least 1.
        ShapeError: an input of another size (in use).
        DtypeError: an input of another dtype than the parameters (in use).

    Example:
        >>> import torch
        >>> ValueNetwork(obs_dim=3, hidden=(16, 16)).values(torch.zeros(4, 3)).shape
        torch.Size([4, 1])
    """

    def __init__(
        self,
        obs_dim: int,
        hidden: Sequence[int] = (512,) * 4,
        *,
        layer_norm: bool = True,
        activation: Activation = TanhGELU,
    ) -> None:
        super().__init__()
        self.in_keys = ["observation"]
        self.out_keys = ["state_value"]
        self.obs_dim = require_obs_dim("ValueNetwork", obs_dim)
        self.net = mlp(
            "ValueNetwork", self.obs_dim, 1, hidden, layer_norm=layer_norm, activation=activation
        )

    def values(self, observation: Tensor) -> Tensor:
        """``[*B, O] -> [*B, 1]``."""
        require_input("ValueNetwork", "observation", observation, self.obs_dim, like(self.net))
        out: Tensor = self.net(observation)
        return out

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``state_value``."""
        return tensordict.set(
            self.out_keys[0], self.values(entry("ValueNetwork", tensordict, self.in_keys[0]))
        )
