"""The data of a run, and the agent that fits them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey
from torch import Tensor

from flowpolicy import data
from flowpolicy.agents import Agent, build
from flowpolicy.data import Dataset
from flowpolicy.data.layout import STEP_KEYS
from flowpolicy.data.transforms.windows import windows_of
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import environments
from flowpolicy.train.config import TrainConfig


def prepare(
    config: TrainConfig, dataset: Dataset | None = None
) -> tuple[Dataset, dict[str, Tensor]]:
    """Sets PyTorch's threads; loads the data and refuses an environment that they are not of.

    Args:
        config: The run.
        dataset: Data of one's own, in place of those that ``config.env`` names.

    Returns:
        What ``load_dataset`` returns.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    prepared = load_dataset(config, dataset)
    require_environment(config, prepared[0])  # before anything is learned
    return prepared


def load_dataset(
    config: TrainConfig, dataset: Dataset | None = None
) -> tuple[Dataset, dict[str, Tensor]]:
    """The data set of a run and the tensors that its policy needs around the actor.

    Args:
        config: The run.
        dataset: Data of one's own, in place of those that ``config.env`` names.

    Returns:
        The data as the agent sees them, on the run's device, and the arguments of
        :class:`~flowpolicy.checkpoint.DeployedPolicy`, on the CPU.

    Raises:
        DataError: The data cannot be loaded.
        ConfigError: There is no such data set, or its windows or chunks are not those of the run.
    """
    if dataset is None:
        dataset = data.load(config.env, root=config.data_root)
    if dataset.info.discount not in (None, config.discount):
        raise ConfigError(
            f"the windows of {dataset.info.name!r} were summed with discount "
            f"{dataset.info.discount}, the run has {config.discount}; both must be the same"
        )
    if dataset.info.horizon not in (1, config.horizon):
        raise ConfigError(
            f"{dataset.info.name!r} holds chunks of {dataset.info.horizon} actions, the run has "
            f"horizon {config.horizon}; both must be the same"
        )
    fingerprint = dataset.fingerprint()
    preprocessing: dict[str, Tensor] = {}
    if config.normalize_observations:
        preprocessing["observation_mean"] = dataset.observation_mean.cpu()
        preprocessing["observation_std"] = dataset.observation_std.cpu()
        dataset = normalized(dataset)
    if dataset.info.action_low is not None and dataset.info.action_high is not None:
        preprocessing["action_low"] = torch.tensor(dataset.info.action_low)
        preprocessing["action_high"] = torch.tensor(dataset.info.action_high)
    if config.horizon > dataset.info.horizon:
        dataset = data.transforms.chunk(dataset, config.horizon, discount=config.discount)
    read, next_action = entries_read(config), ("next", "action")
    if next_action in read and next_action not in dataset.entries():
        dataset = data.transforms.with_next_action(dataset)
    if config.n_step > 1 and ("next", "reward") in read:
        dataset = data.transforms.n_step(dataset, n=config.n_step, discount=config.discount)
    info = replace(dataset.info, fingerprint=fingerprint)
    dataset = Dataset.from_blocks(dataset.blocks, dataset.columns, info)
    return dataset.to(config.device), preprocessing


def require_environment(config: TrainConfig, dataset: Dataset) -> None:
    """Refuses an environment that cannot be made, or that the data are not of.

    Raises:
        ConfigError: It is unknown, or its observations or actions are others.
    """
    name = config.env
    (env,) = environments(name, 1)
    from flowpolicy.envs.unit_actions import bounds_of

    for what, width, space in (
        ("observations", dataset.obs_dim, env.observation_space),
        ("actions", dataset.act_dim // dataset.info.horizon, env.action_space),
    ):
        if space.shape != (width,):
            raise ConfigError(
                f"the {what} of {dataset.info.name!r} have {width} components, those of {name} "
                f"{space.shape[0]}; evaluate in the environment that the data are of"
            )
    _require_bounds(dataset, name, bounds_of(env))
    if config.online_steps:
        _require_steps_like(dataset)


def _require_bounds(dataset: Dataset, name: str, space: Any) -> None:
    """Refuses data whose actions -1 and 1 are others than the environment's."""
    info = dataset.info
    if info.action_low is None or info.action_high is None:
        action = dataset.entries()["action"].reshape(-1, *space.shape)  # chunks step by step
        largest = torch.from_numpy(np.maximum(abs(space.low), abs(space.high))).to(action)
        if (largest < 1).any() and bool((action.abs() <= largest).all()):
            warnings.warn(
                f"no action of {info.name!r} lies outside the bounds of {name}, "
                f"{space.low.tolist()} to {space.high.tolist()}; actions of data are in [-1, 1], "
                "which stands for these bounds. If the data's are the environment's own, give "
                "action_low and action_high to Dataset.from_tensordict",
                stacklevel=4,
            )
        return
    low, high = (np.asarray(each, space.dtype) for each in (info.action_low, info.action_high))
    if not (np.array_equal(low, space.low) and np.array_equal(high, space.high)):
        raise ConfigError(
            f"the actions of {info.name!r} lie between {list(info.action_low)} and "
            f"{list(info.action_high)}, those of {name} between {space.low.tolist()} and "
            f"{space.high.tolist()}; evaluate in the environment that the data are of, or give its "
            "bounds to Dataset.from_tensordict"
        )


GIVEN = (*STEP_KEYS, "episode", ("next", "action"))
"""The entries that online steps have or are given, whatever windows are cut."""


def _require_steps_like(dataset: Dataset) -> None:
    """Refuses data that online steps cannot be joined with."""
    info = dataset.info
    refused = f"online steps cannot be joined with {info.name!r}: "
    windows = windows_of(dataset)
    if windows and info.n_step == info.horizon == 1:
        raise ConfigError(
            f"{refused}its rows are {windows} that were cut elsewhere; give single steps, and "
            "n_step"
        )
    made = ["steps_to_next_obs"] if windows else []
    made += ["valid"] if info.horizon > 1 else []
    if surplus := [key for key in dataset.entries() if key not in (*GIVEN, *made)]:
        raise ConfigError(
            f"{refused}the data have {surplus[0]!r}, which no environment gives; load them "
            "without it"
        )


def entries_read(config: TrainConfig) -> list[NestedKey]:
    """What the losses of a run read of a batch.

    Example:
        >>> ("next", "action") in entries_read(TrainConfig(agent="rebrac", env="scene-play"))
        True
    """
    return weightless_agent(config).loss.in_keys


def weightless_agent(config: TrainConfig) -> Agent:
    """An agent of a run whose weights take no memory and no time, for some observation and action.

    Raises:
        ConfigError: The recipe refuses an option.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return build(config.agent, 3, 2, **config.recipe)


def describe(dataset: Dataset) -> str:
    """The data of a run in a few words: name, origin, size.

    Example:
        >>> describe(data.embedded())
        'pointmaze-medium-navigate-singletask-v0 (embedded), 190,000 transitions'
    """
    info = dataset.info
    windows = f" in windows of up to {info.n_step} steps" if info.n_step > 1 else ""
    if info.horizon > 1:
        windows = f" in chunks of {info.horizon} actions"
    return f"{info.name} ({info.origin or 'in memory'}), {len(dataset):,} transitions{windows}"


def normalized(dataset: Dataset) -> Dataset:
    """The data set with observations of mean 0 and standard deviation 1."""
    mean, std = dataset.observation_mean, dataset.observation_std
    blocks = {name: block.clone() for name, block in dataset.blocks.items()}
    copy = Dataset.from_blocks(blocks, dataset.columns, dataset.info)
    entries = copy.entries()
    for key in ("observation", ("next", "observation")):
        entries[key].sub_(mean).div_(std)  # entries are views of the blocks
    return copy


def seeded_agent(config: TrainConfig, recipe: Mapping[str, Any]) -> Agent:
    """The agent of a run, its weights drawn from the run's seed.

    PyTorch's global generator is left as it was.

    Args:
        config: The run.
        recipe: Name, sizes and options for :func:`~flowpolicy.agents.build`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # and not those of GPUs
        sizes = recipe["obs_dim"], recipe["act_dim"]
        agent = build(recipe["agent"], *sizes, **recipe["options"])
    agent.to(config.device)
    agent.noise.seed(config.seed)
    return agent
