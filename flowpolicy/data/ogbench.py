"""OGBench's single-task data sets, by their public names."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from flowpolicy.data.dataset import Dataset
from flowpolicy.data.info import DatasetInfo, SuccessTiming
from flowpolicy.data.locate import find_file
from flowpolicy.data.names import DatasetName
from flowpolicy.data.npz import read_npz, sha256
from flowpolicy.data.ogbench_arrays import (
    ARRANGED,
    check_environment,
    check_lengths,
    check_recorded,
    check_walls,
    float_tensor,
    terminal_flags,
)
from flowpolicy.data.origin import origin_of
from flowpolicy.data.relabel import relabel, task_of
from flowpolicy.data.validation import check_actions
from flowpolicy.errors import ConfigError

Split = Literal["train", "val"]

#: What OGBench computes rewards from; the second only where the task has buttons.
STATES = ("qpos", "button_states")

#: Actions stay strictly inside (-1, 1), as in the authors' training code.
ACTION_LIMIT = 1 - 1e-5


def load(
    name: str,
    root: str | Path | None = None,
    *,
    split: Split = "train",
    success_timing: SuccessTiming = "pre",
    download: bool = True,
    device: torch.device | str = "cpu",
) -> Dataset:
    """An OGBench data set with the rewards of one task.

    A file records states; OGBench's own function turns them into the task's rewards. A row is the
    step from one state to the next, so the last state of a trajectory has no row.
    ``terminated`` marks success, ``truncated`` the last row of a trajectory without it. Successes
    lie in the middle of trajectories, which go on after them: ``episode`` numbers the trajectories.

    Args:
        name: such as ``cube-single-play-singletask-task2-v0``; without ``-task2`` the environment's
            default task is taken.
        root: the only folder to look into and to download to. Without it: ``FLOWPOLICY_DATA``,
            ``~/.ogbench/data``, and the small sets that ship with the package.
        split: ``"train"`` or ``"val"``.
        success_timing: the state that a row's reward and ``terminated`` describe: the one before
            the action (``"pre"``, what OGBench gives its data, and its environments since 1.2) or
            the one after it (``"post"``, what its environments gave before).
        download: fetch files that are nowhere to be found, with OGBench's own function.
        device: where the data shall lie.

    Raises:
        ConfigError: an unknown name, split or timing.
        DataError: files that are missing, damaged, or belong to another environment; values that
            are not finite; actions outside [-1, 1].

    Example:
        >>> from flowpolicy import data
        >>> dataset = data.load("pointmaze-medium-navigate-singletask-v0")
        >>> dataset.obs_dim, dataset.act_dim, dataset.info.task, dataset.info.success_timing
        (2, 2, 1, 'pre')

    Source: OGBench: Benchmarking Offline Goal-Conditioned RL (2024), arXiv:2410.20092.
    """
    if split not in get_args(Split):
        raise ConfigError(f"load: split must be 'train' or 'val', got {split!r}.")
    if success_timing not in get_args(SuccessTiming):
        raise ConfigError(f"load: success_timing must be 'pre' or 'post', got {success_timing!r}.")
    parsed = DatasetName.parse(name)
    parsed.require_known()
    path = find_file(parsed, split, root, download=download)
    return read_file(path, parsed, split, success_timing).to(device)


def embedded() -> Dataset:
    """The small point-maze data set that ships with the package, with its default task.

    Example:
        >>> from flowpolicy import data
        >>> data.embedded().info.env_id
        'pointmaze-medium-singletask-task1-v0'
    """
    from flowpolicy.data.locate import EMBEDDED

    return load("pointmaze-medium-navigate-singletask-v0", EMBEDDED, download=False)


def read_file(path: Path, name: DatasetName, split: Split, timing: SuccessTiming) -> Dataset:
    """Read, check, relabel and arrange one file of OGBench's layout."""
    source = str(path)
    recorded = ["observations", "actions", "terminals", STATES[0]]
    arrays = read_npz(path, recorded, [*STATES[1:], *ARRANGED])
    check_recorded(source, arrays)
    digest = sha256(path)
    origin = origin_of(path, name, digest)
    check_lengths(source, arrays)
    observations = float_tensor(source, "observations", arrays["observations"])
    actions = float_tensor(source, "actions", arrays["actions"])
    float_tensor(source, "qpos", arrays["qpos"])
    check_actions(source, "actions", actions)
    terminals = terminal_flags(source, arrays["terminals"])
    task = task_of(name)
    check_environment(source, name.env_id(task.number), arrays, task.widths)
    check_walls(source, name.env_id(task.number), arrays["qpos"], task.env)
    states = {key: values for key, values in arrays.items() if key in STATES}
    rewards, successes = relabel(name, states)

    row = np.flatnonzero(~terminals)  # the last state of a trajectory has no successor
    described = row if timing == "pre" else row + 1
    terminated = torch.from_numpy(successes[described]).unsqueeze(1)
    last = torch.from_numpy(terminals[row + 1]).unsqueeze(1)
    episode = np.cumsum(terminals) - terminals
    here = torch.from_numpy(row)
    info = DatasetInfo(
        name=name.full,
        env_id=name.env_id(task.number),
        task=task.number,
        split=split,
        success_timing=timing,
        origin=origin,
        ogbench_version=importlib.metadata.version("ogbench"),
        files={path.name: digest},
    )
    return Dataset(
        {
            "observation": observations[here],
            "action": actions[here].clamp(-ACTION_LIMIT, ACTION_LIMIT),
            ("next", "observation"): observations[here + 1],
            ("next", "reward"): torch.from_numpy(rewards[described]).unsqueeze(1),
            ("next", "terminated"): terminated,
            ("next", "truncated"): last & ~terminated,
            "episode": torch.from_numpy(episode[row]),
        },
        info,
        source=source,
    )
