"""numpy's global random generator, exchanged for a private one while a block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def numpy_global(bit_generator: np.random.BitGenerator) -> Iterator[None]:
    """Let ``np.random.uniform`` and its like draw from ``bit_generator`` inside the block.

    OGBench's mazes and scripted experts draw from numpy's global generator, which ``reset(seed=)``
    does not reach. Exchanging the generator, instead of seeding it, makes them repeat and leaves
    the caller's own stream exactly where it was.

    Args:
        bit_generator: the source inside the block; it advances as numbers are drawn.

    Example:
        >>> state = np.random.get_state()[1].copy()
        >>> draws = []
        >>> for _ in range(2):
        ...     with numpy_global(np.random.PCG64(0)):
        ...         draws.append(float(np.random.uniform()))
        >>> draws[0] == draws[1], bool((np.random.get_state()[1] == state).all())
        (True, True)
    """
    outside = np.random.get_bit_generator()  # type: ignore[attr-defined]  # missing in the stubs
    np.random.set_bit_generator(bit_generator)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        np.random.set_bit_generator(outside)  # type: ignore[attr-defined]
