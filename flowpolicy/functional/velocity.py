"""What formulas of flows take for the flow."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
"""``(x [*B, A], t) -> [*B, A]``: the velocity at a point and a time, the observation being
fixed."""
