"""Seeds of random streams that must not repeat each other."""

from __future__ import annotations

import numpy as np


def stream_seed(seed: int, stream: str) -> int:
    """The seed of one of a run's streams, unlike that of the run and of any other stream.

    Args:
        seed: Of the run.
        stream: What is drawn.

    Example:
        >>> stream_seed(0, "noise") != stream_seed(0, "starts") != stream_seed(1, "starts")
        True
    """
    return int(np.random.SeedSequence([seed, *stream.encode()]).generate_state(1)[0])
