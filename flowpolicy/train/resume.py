"""Going on with a run: where it stood, and whether it is the same one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from flowpolicy.checkpoint import LoadedCheckpoint
from flowpolicy.checkpoint.agent_files import DATA, ENVIRONMENT
from flowpolicy.checkpoint.contents import json_in
from flowpolicy.checkpoint.environment import differences, environment
from flowpolicy.data import Dataset
from flowpolicy.errors import ConfigError
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.config import TrainConfig


class Position(NamedTuple):
    """How far a run is.

    Attributes:
        step: Gradient steps.
        env_steps: Environment steps.

    Example:
        >>> print(Position(4000, 1200))
        update 4,000, online step 1,200, where another episode begins
    """

    step: int
    env_steps: int

    def __str__(self) -> str:
        online = f", online step {self.env_steps:,}, where another episode begins"
        return f"update {self.step:,}{online if self.env_steps else ''}"

    def reaches(self, row: Mapping[str, str]) -> bool:
        """Whether a row of a table was written before this or here."""
        return int(row["step"]) <= self.step and int(row["env_steps"]) <= self.env_steps

    def equals(self, row: Mapping[str, str]) -> bool:
        """Whether a row of a table was written here."""
        return (int(row["step"]), int(row["env_steps"])) == self


def require_same_run(folder: RunFolder, config: TrainConfig) -> None:
    """Refuses to go on with a run that was another one.

    Raises:
        ConfigError: The configurations differ, or the folder holds several seeds.
    """
    saved = folder.config()
    if "seeds" in saved:
        seeds = ", ".join(str(seed.path) for seed in folder.seeds())
        raise ConfigError(
            f"{folder.path} holds several runs; start their command again with --resume auto, or "
            f"resume each by itself: {seeds}"
        )
    require_same_settings(folder, TrainConfig.from_dict(saved), config)


def require_same_settings(folder: RunFolder, before: TrainConfig, config: TrainConfig) -> None:
    """Refuses to go on with other settings; :func:`warn_of_other_bits` warns of other threads.

    Raises:
        ConfigError: Names the first one that differs.
    """
    if changed := before.difference(config):
        name, then, now = changed
        raise ConfigError(
            f"{folder.path} is a run with {name} {then!r}, not {now!r}; resume it with the "
            "configuration that it has"
        )


def require_same_data(origin: str, before: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuses to go on with other data.

    Where the data lie and what they are called does not matter when their content is known.

    Args:
        origin: Whose data.
        before: What was written about the data.
        dataset: The data now.

    Raises:
        ConfigError: Content or meaning differ.
    """
    now = dataset.info.to_dict()
    known = None not in (before.get("fingerprint"), now["fingerprint"])
    for name, value in now.items():
        if name not in before or (known and name in _PROVENANCE):
            continue
        if before[name] != value and (known or name != "fingerprint"):
            raise ConfigError(
                f"{origin} was trained on data with {name} {before[name]!r}, these have "
                f"{value!r}; resume it with the data that it had"
            )


_PROVENANCE = ("name", "origin", "files", "ogbench_version")


def require_same_data_in(loaded: LoadedCheckpoint, dataset: Dataset) -> None:
    """Refuses to go on from a checkpoint of other data.

    Raises:
        ConfigError: As :func:`require_same_data`.
    """
    origin = f"checkpoint {loaded.path}"
    require_same_data(origin, json_in(loaded.files, DATA, origin), dataset)


def warn_of_other_bits(loaded: LoadedCheckpoint, device: torch.device | str) -> None:
    """Warns where the run goes on correctly, but not bit by bit."""
    before = json_in(loaded.files, ENVIRONMENT, f"checkpoint {loaded.path}")
    if found := list(differences(before, environment(device))):
        warnings.warn(
            f"the run had another {', another '.join(found)}: it goes on correctly, but not bit by "
            "bit as it would have",
            stacklevel=3,
        )
