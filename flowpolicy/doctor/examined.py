"""What the checks of a run look at, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from tensordict import TensorDictBase

from flowpolicy.agents import Agent
from flowpolicy.checkpoint.policy import load_agent
from flowpolicy.data import Dataset, load
from flowpolicy.data.locate import find_file
from flowpolicy.data.names import DatasetName
from flowpolicy.doctor.finding import Finding
from flowpolicy.errors import ConfigError, DataError, FlowPolicyError
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.stacked_critics import StackedCritics
from flowpolicy.run_folder import RunFolder, read_table
from flowpolicy.train import TrainConfig
from flowpolicy.train.resume import require_same_data
from flowpolicy.train.task import load_dataset

ROWS = 512
"""Rows of data that networks are asked about: enough for shares to within a few per cent."""

EARLY = 1000
"""Updates before which values and policies say little: Adam has moved no weight by more than about
its learning rate times so many."""


@dataclass(frozen=True)
class Examined:
    """A run of one seed.

    Attributes:
        folder: Its folder.
        config: What it is a run of.
        metrics: The rows of ``metrics.csv``, cells that are numbers.
        agent: Of the newest intact checkpoint, ``None`` without one.
        rows: Some rows ``[N]`` of the data as the agent sees them, with noise; ``None`` where the
            data are not at hand.
        reach: The lowest and the highest return that the data's rewards could add up to.
        unseen: Rows as ``rows``, of the data's validation split; ``None`` where there is none.
    """

    folder: RunFolder
    config: TrainConfig
    metrics: list[dict[str, float]] = field(default_factory=list)
    agent: Agent | None = None
    rows: TensorDictBase | None = None
    reach: tuple[float, float] | None = None
    unseen: TensorDictBase | None = None

    @property
    def step(self) -> int:
        """Updates so far, by the last row of the metrics."""
        return int(self.metrics[-1].get("step", 0)) if self.metrics else 0

    @property
    def probes(self) -> tuple[Agent, EvaluatedBatch] | None:
        """The agent and the rows to ask it about; ``None`` where either is missing or too young."""
        if self.agent is None or self.rows is None or self.step < EARLY:
            return None
        return self.agent, EvaluatedBatch(self.rows, self.agent.loss.losses[0].tensor_keys)

    @property
    def critic(self) -> StackedCritics | None:
        """The critics of actions, if the agent has some."""
        networks = () if self.agent is None else self.agent.networks.values()
        return next((each for each in networks if isinstance(each, StackedCritics)), None)

    def column(self, name: str) -> list[float]:
        """The numbers of a column of the metrics, oldest first."""
        return [row[name] for row in self.metrics if name in row]

    def columns(self) -> list[str]:
        """The names of all columns that have a number somewhere."""
        return list(dict.fromkeys(name for row in self.metrics for name in row))


def examine(
    folder: RunFolder, dataset: Dataset | None = None, data_root: str | Path | None = None
) -> tuple[Examined, list[Finding]]:
    """Reads what there is of a run of one seed, and says what could not be looked at.

    Args:
        folder: The run.
        dataset: The data, where the run was not trained on those that its configuration names.
        data_root: Folder of data sets in place of the configuration's.

    Raises:
        ConfigError: It is no run folder, or that of several runs.
    """
    values = folder.config()
    if "seeds" in values:
        raise ConfigError(
            f"{folder.path} is the folder of several seeds; examine each by itself: "
            f"{', '.join(f'seed_{number}' for number in values['seeds'])}"
        )
    config = TrainConfig.from_dict(values).replace(device="cpu", precision="float32")
    if data_root is not None:
        config = config.replace(data_root=str(data_root))
    findings: list[Finding] = []
    metrics: list[dict[str, float]] = []
    try:
        if folder.metrics.is_file():  # written with its first row
            metrics = [_numbers(row) for row in read_table(folder.metrics)[1]]
    except FlowPolicyError as error:
        findings.append(Finding("warning", "metrics", str(error)))
    agent = None
    try:
        agent = load_agent(folder.path)
    except FlowPolicyError as error:
        findings.append(Finding("note", "networks", f"not looked at: {error}"))
    rows, reach, unseen = None, None, None
    try:
        data = _data(folder, config, dataset)
        reach = bounds(data, config.discount)
        if agent is not None:
            rows = _some(data, agent)
            if dataset is None and not config.normalize_observations:
                unseen = _some(_validation(config), agent)
    except FlowPolicyError as error:
        told = f"not at hand, so that the networks are not asked about them: {error}"
        findings.append(Finding("note", "data", told))
    run = Examined(folder, config, metrics, agent, rows, reach, unseen)
    if rows is not None and run.step < EARLY:
        told = f"too few updates ({run.step:,} of {EARLY:,}) for them to be asked"
        findings.append(Finding("note", "networks", told))
    return run, findings


def bounds(dataset: Dataset, discount: float) -> tuple[float, float] | None:
    r"""The lowest and highest return that rewards of the data could add up to.

    .. math:: \min_i \frac{r_i}{1 - c_i},\ \max_i \frac{r_i}{1 - c_i},\qquad
        c_i = \gamma^{m_i} (1 - \text{terminated}_i)

    The returns of meeting one and the same row for ever, or until it ends; no mixture of rows lies
    outside. ``None`` where the discount of some row is 1.

    Example:
        >>> from flowpolicy import data
        >>> low, high = bounds(data.embedded(), 0.99)
        >>> round(low), round(high)
        (-100, 0)
    """
    entries = dataset.entries()
    reward, terminated = (entries["next", name].double() for name in ("reward", "terminated"))
    steps = entries.get("steps_to_next_obs", torch.ones_like(reward)).double()
    left = 1 - (1 - terminated) * discount**steps
    if bool((left <= 0).any()):
        return None
    returns = reward / left
    return float(returns.min()), float(returns.max())


def _data(folder: RunFolder, config: TrainConfig, dataset: Dataset | None) -> Dataset:
    if dataset is None:
        find_file(DatasetName.parse(config.env), "train", config.data_root, download=False)
    data, _ = load_dataset(config, dataset)
    require_same_data("the run", folder.read_json("data.json"), data)
    return data


def _validation(config: TrainConfig) -> Dataset | None:
    try:
        recorded = load(config.env, config.data_root, split="val", download=False)
    except DataError:
        return None
    return load_dataset(config, recorded)[0]


def _some(dataset: Dataset | None, agent: Agent) -> TensorDictBase | None:
    if dataset is None:
        return None
    index = torch.linspace(0, len(dataset) - 1, ROWS).long().unique()
    return agent.with_noise(dataset.take(index))


def _numbers(row: dict[str, str]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, cell in row.items():
        try:
            numbers[name] = float(cell)
        except ValueError:
            continue  # an empty cell: the column came later, or the loss had a pause
    return numbers
