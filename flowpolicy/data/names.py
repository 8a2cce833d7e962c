"""The parts of a data set's name, and of the file that it is read from."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from importlib.util import find_spec

from flowpolicy.errors import ConfigError, unknown_name

#: ``cube-single`` ``play`` ``singletask`` ``task2`` ``v0``; the task may be missing.
PATTERN = re.compile(
    r"(?P<env>[a-z0-9-]+)-(?P<kind>[a-z]+)-singletask(?:-task(?P<task>[1-5]))?-(?P<version>v\d+)"
)


@dataclass(frozen=True)
class DatasetName:
    """One OGBench single-task data set.

    Example:
        >>> name = DatasetName.parse("cube-single-play-singletask-task2-v0")
        >>> name.file("train"), name.task, name.env_id(2)
        ('cube-single-play-v0.npz', 2, 'cube-single-singletask-task2-v0')
    """

    full: str
    env: str
    kind: str
    task: int | None
    version: str

    @classmethod
    def parse(cls, name: str) -> DatasetName:
        """Take a name apart.

        Raises:
            ConfigError: not the name of a single-task data set.
        """
        match = PATTERN.fullmatch(name)
        if match is None:
            raise ConfigError(f"{name!r} is not the name of a single-task data set. {advice(name)}")
        task = match["task"]
        return cls(name, match["env"], match["kind"], int(task) if task else None, match["version"])

    @property
    def stem(self) -> str:
        """OGBench's name for the data without a task: ``<env>-<kind>-<version>``."""
        return f"{self.env}-{self.kind}-{self.version}"

    def file(self, split: str) -> str:
        """The name of the file that holds a split."""
        return f"{self.stem}{'-val' if split == 'val' else ''}.npz"

    def env_id(self, task: int | None) -> str:
        """The environment's id, with the task if there is one."""
        middle = f"singletask-task{task}" if task else "singletask"
        return f"{self.env}-{middle}-{self.version}"

    def require_known(self) -> None:
        """Refuse a name that OGBench does not have, with the nearest that it has."""
        known = available()
        if self.full.removeprefix("visual-") in known and self.full not in known:
            raise ConfigError(
                f"{self.full!r} has images, which need an encoder that this library does not have. "
                f"Use {self.full.removeprefix('visual-')!r}, the same task with vectors."
            )
        if self.full not in known:
            families = [n for n in known if re.search(r"task\d", n) is None]
            pool = families if self.task is None else [n for n in known if n not in families]
            raise unknown_name("data set", self.full, pool)


def available() -> list[str]:
    """The names of all OGBench single-task data sets with vector observations.

    Example:
        >>> "cube-single-play-singletask-task2-v0" in available()
        True
    """
    from flowpolicy.envs.names import single_task_datasets

    return single_task_datasets()


def advice(name: str) -> str:
    """What somebody who wrote ``name`` may have meant."""
    from flowpolicy.envs.names import is_single_task, registration

    goal_conditioned = re.fullmatch(r"([a-z0-9-]+?)(?:-(v\d+))?", name)
    if goal_conditioned and not is_single_task(name):
        meant = f"{goal_conditioned[1]}-singletask-{goal_conditioned[2] or 'v0'}"
        known = [n for n in available() if re.search(r"task\d", n) is None]
        if meant in known:
            return (
                f"Goal-conditioned data have no rewards; the default task's are {meant!r} "
                "(or -task1 to -task5 before the version)."
            )
        if near := difflib.get_close_matches(meant, known, n=3, cutoff=0.8):
            return f"Did you mean {', '.join(map(repr, near))}?"
    if find_spec("gymnasium") and not is_single_task(name) and registration(name) is not None:
        return (
            "It is an environment without data; data of your own are given in Python: "
            "train(config, out, dataset=...), which goes on with a run by resume='auto'."
        )
    return (
        "Names look like 'cube-single-play-singletask-task2-v0', where tasks are 1 to 5, or "
        "'cube-single-play-singletask-v0' for the environment's default task."
    )
