"""What an episode is made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[np.generic]]
"""Arrays by the names that OGBench's files use, one row per time step."""
