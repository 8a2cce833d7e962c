"""One draw of noise for several actors."""

from __future__ import annotations

from collections.abc import Iterable

from flowpolicy.errors import ConfigError
from flowpolicy.modules.actor import Actor
from flowpolicy.paths.draws import Draw


def shared_noise(owner: str, what: str, actors: Iterable[Actor]) -> Draw | None:
    """What all of the actors that are random act with; ``None`` where none is.

    Args:
        owner: who asks them, for the message.
        what: the actors are to it, for the message.
        actors: asked with the same noise.

    Raises:
        ConfigError: the noise of one is of another shape.

    Example:
        >>> import flowpolicy as fp
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(8,)))
        >>> mean = fp.DeterministicActor(3, 2, hidden=(8,))
        >>> shared_noise("TDLoss", "next actors", [mean, flow]).shape
        (2,)
    """
    draws = {actor.noise_shape: actor.noise_draw for actor in actors if actor.is_random}
    if len(draws) > 1:
        raise ConfigError(
            f"{owner}: all {what} share one noise, but their noise_shapes are {sorted(draws)}."
        )
    return next(iter(draws.values()), None)
