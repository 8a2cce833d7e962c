"""The data of many runs."""

from __future__ import annotations

from flowpolicy.benchmark.backends import Cells
from flowpolicy.data.locate import find_file
from flowpolicy.data.names import DatasetName


def require_data(cells: Cells, *, download: bool = False) -> None:
    """Refuses cells whose data are not there, before all of them ask for these at once.

    Args:
        cells: The runs.
        download: Fetch what can be had, one file after the other.

    Raises:
        ConfigError: An environment is not the name of a data set.
        DataError: A file is missing; names it and where it was looked for.
    """
    for env, root in {(config.env, config.data_root) for config in cells.values()}:
        name = DatasetName.parse(env)
        find_file(name, "train", root, download=download)
