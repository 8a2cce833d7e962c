"""A grid: agents times environments times seeds times values of options, as data in a TOML file."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import math
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

from flowpolicy.agents import preset, preset_batch_size, recipe_options
from flowpolicy.benchmark.search_space import SearchSpace
from flowpolicy.data import available
from flowpolicy.errors import ConfigError, FlowPolicyError, refuse_unknown
from flowpolicy.train import TrainConfig
from flowpolicy.train.task import weightless_agent

_TABLES = ("description", "grid", "run", "agents", "search")
_RUN = {f.name for f in dataclasses.fields(TrainConfig)} - {"options"}
_PLACES = ("agent", "env", "seed")
"""Settings that have a place of their own in the path of a cell."""


@final
@dataclass(frozen=True)
class Grid:
    """What a grid file says, checked.

    Attributes:
        name: Of the file.
        description: What it is, for the table.
        axes: Settings with several values. A setting is one of a run
            (:class:`~flowpolicy.train.TrainConfig`), an option of its agent, or ``preset``: start
            from the published options.
        fixed: Settings of every run.
        own: Settings of the runs of one agent, by its name.
        space: Settings whose values are searched for.
    """

    name: str
    description: str
    axes: Mapping[str, Sequence[Any]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    space: SearchSpace | None = None

    @classmethod
    def read(cls, path: str | Path) -> Grid:
        """Reads and checks a file.

        Raises:
            ConfigError: It cannot be read, or says what cannot be; names the key.
        """
        try:
            said = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"grid {path} cannot be read: {error}") from error
        refuse_unknown(f"key of grid {path}", said, _TABLES)
        for name in _TABLES[1:]:
            if not isinstance(said.get(name, {}), dict):
                raise ConfigError(f"grid {path}: {name} must be a table, [{name}]")
        axes = said.get("grid", {})
        if isinstance(axes.get("env"), list):
            axes["env"] = [name for each in axes["env"] for name in _matching(each, f"grid {path}")]
        grid = cls(
            str(path),
            str(said.get("description", Path(path).stem)),
            axes,
            said.get("run", {}),
            said.get("agents", {}),
            SearchSpace.of(said["search"], f"grid {path}") if "search" in said else None,
        )
        grid._check()
        return grid

    @property
    def searched(self) -> tuple[str, ...]:
        """Names of the settings whose values are searched for."""
        return () if self.space is None else tuple(self.space.ranges)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the file gives, each named by its table as well."""
        tables = {"grid": self.axes, "run": self.fixed}
        tables |= {f"agents.{agent}": own for agent, own in self.own.items()}
        if self.space is not None:
            tables["search"] = {k: vars(v) for k, v in self.space.ranges.items()}
        return {f"[{at}] {k}": value for at, table in tables.items() for k, value in table.items()}

    def cells(
        self, out: Path, *, data_root: str | None = None, **found: Any
    ) -> dict[Path, TrainConfig]:
        """Every run by the folder to make, ``<out>/<env>/<agent>,<setting>=<value>/seed_<n>``.

        The folders follow from the settings alone, so a grid that grows keeps what it has. Their
        order is that of the file, its last setting first to change.

        Args:
            out: Folder of the sweep.
            data_root: Folder of data sets, where the grid names none.
            found: Values of the settings that are searched for.

        Raises:
            ConfigError: A run cannot be; says which.

        Example:
            >>> axes = {"agent": ["fql"], "env": ["cube-single-play-singletask-v0"]}
            >>> grid = Grid("my.toml", "mine", {**axes, "alpha": [1.0, 1e-3], "seed": [0, 1]})
            >>> for path in grid.cells(Path("s")):
            ...     print(path)
            s/cube-single-play-singletask-v0/fql,alpha=1/seed_0
            s/cube-single-play-singletask-v0/fql,alpha=1/seed_1
            s/cube-single-play-singletask-v0/fql,alpha=0.001/seed_0
            s/cube-single-play-singletask-v0/fql,alpha=0.001/seed_1
        """
        cells: dict[Path, TrainConfig] = {}
        for values in itertools.product(*self.axes.values()):
            point = {**dict(zip(self.axes, values, strict=True)), **found}
            try:
                config = self._config(point, data_root)
            except (FlowPolicyError, TypeError) as error:
                raise ConfigError(f"grid {self.name}, {_told(point)}: {error}") from error
            named = {k: v for k, v in point.items() if k not in _PLACES}
            path = out / setting_path(config, named)
            if path in cells:
                raise ConfigError(f"grid {self.name}: two runs are {path.relative_to(out)}")
            cells[path] = config
        return cells

    def _config(self, point: Mapping[str, Any], data_root: str | None) -> TrainConfig:
        agent = point.get("agent", self.fixed.get("agent"))
        settings = {**self.fixed, **self.own.get(agent, {}), **point}
        published_ones = settings.pop("preset", False)
        if not isinstance(published_ones, bool):
            raise ConfigError(f"preset must be true or false, got {published_ones!r}")
        if published_ones:
            env = settings["env"]
            published = {**preset(agent, env), "batch_size": preset_batch_size(agent, env)}
            settings = {**published, **settings}
        usual = {"data_root": data_root, "threads": 1, "tensorboard": False}
        run = {**usual, **{k: v for k, v in settings.items() if k in _RUN}}
        return TrainConfig(options={k: v for k, v in settings.items() if k not in _RUN}, **run)

    def _check_own(self, known: Collection[str]) -> None:
        """Refuses settings of single agents that could not be run."""
        where = f"grid {self.name}"
        for agent, own in self.own.items():
            if not isinstance(own, Mapping):
                raise ConfigError(f"{where}: [agents.{agent}] must be a table, got {own!r}")
            refuse_unknown(f"setting of {where}, agents.{agent}", own, {*known} - {*_PLACES})
            if twice := sorted(set(own) & {*self.axes, *self.searched}):
                raise ConfigError(f"{where}: {twice[0]} stands in [agents.{agent}] and in an axis")

    def _check(self) -> None:
        """Refuses what could not be run, before anything is."""
        where = f"grid {self.name}"
        for name, values in self.axes.items():
            if not isinstance(values, list) or not values:
                raise ConfigError(f"{where}: {name} must be a list of values, got {values!r}")
        tables: dict[str, Mapping[str, Any]] = {"grid": self.axes, "run": self.fixed}
        tables["search"] = dict.fromkeys(self.searched)
        for (first, one), (second, two) in itertools.combinations(tables.items(), 2):
            if twice := sorted(set(one) & set(two)):
                raise ConfigError(f"{where}: {twice[0]} stands in [{first}] and in [{second}]")
        for name in ("agent", "env"):
            if name not in self.axes and name not in self.fixed:
                raise ConfigError(f"{where}: {name} must stand in [grid] or in [run]")
        agents = self.axes.get("agent", [self.fixed.get("agent")])
        if not all(isinstance(agent, str) for agent in agents):
            raise ConfigError(f"{where}: agent must be a name, got {agents}")
        options = {option for agent in agents for option in recipe_options(agent)}
        known = {*_RUN, *options, "preset"}
        refuse_unknown(f"agent of {where}", self.own, agents)
        self._check_own(known)
        for title, table in tables.items():
            refuse_unknown(f"setting of {where}, {title}", table, known)
        for found in self._ends():
            self._build(found)

    def _ends(self) -> Iterator[dict[str, Any]]:
        """The values that are searched for, at both ends of their ranges."""
        return iter([{}]) if self.space is None else self.space.ends()

    def _build(self, found: Mapping[str, Any]) -> None:
        """Builds an agent of every kind once: its recipe refuses values that cannot be."""
        built = set()
        for path, config in self.cells(Path(), **found).items():
            recipe = json.dumps([config.agent, config.to_dict()["options"]], sort_keys=True)
            if recipe in built:
                continue
            built.add(recipe)
            try:
                weightless_agent(config)
            except FlowPolicyError as error:
                raise ConfigError(f"grid {self.name}, {path.parent}: {error}") from error


def _matching(pattern: Any, where: str) -> list[Any]:
    """The data sets that a pattern such as ``cube-*-play-singletask-task?-v0`` names."""
    if not isinstance(pattern, str) or not {"*", "?"} & set(pattern):
        return [pattern]
    if not (found := fnmatch.filter(available(), pattern)):
        raise ConfigError(f"{where}: no data set is named as {pattern!r}")
    return found


def setting_path(config: TrainConfig, named: Mapping[str, Any]) -> Path:
    """Where the run of a setting lies, below the sweep's folder.

    Args:
        config: The run.
        named: What its name tells besides agent, environment and seed.
    """
    pairs = [f"{name}={setting_text(value)}" for name, value in sorted(named.items())]
    return Path(_quoted(config.env), ",".join([config.agent, *pairs]), f"seed_{config.seed}")


def setting_text(value: Any) -> str:
    """A setting's value as the name of a folder tells it."""
    if isinstance(value, list | tuple):
        return "x".join(map(setting_text, value))
    if isinstance(value, float) and math.isfinite(value):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return _quoted(value if isinstance(value, str) else json.dumps(value))


def _quoted(text: str) -> str:
    return quote(text, safe=" +")


def _told(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in point.items())
