"""The width of an action chunk."""

from __future__ import annotations

from flowpolicy.errors import require_at_least


def chunk_width(owner: str, act_dim: int, horizon: int) -> int:
    """The dimension of ``horizon`` actions of ``act_dim`` that count as one.

    Args:
        owner: who asks, for error messages.
        act_dim: of one action of the environment.
        horizon: the number of environment steps in a chunk.

    Raises:
        ConfigError: a size that is no whole number of at least 1.

    Example:
        >>> chunk_width("fql", 2, 5)
        10
    """
    act_dim = require_at_least(owner, "act_dim", act_dim, 1)
    return act_dim * require_at_least(owner, "horizon", horizon, 1)
