"""A suite: the runs of many methods in several environments, as data in a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from flowpolicy.agents import recipe_options
from flowpolicy.data.locate import EMBEDDED
from flowpolicy.errors import ConfigError, FlowPolicyError, refuse_unknown, unknown_name
from flowpolicy.train import TrainConfig
from flowpolicy.train.task import weightless_agent

_TABLES = ("run", "shared", "methods")
_RUN = {f.name for f in dataclasses.fields(TrainConfig)} - {"agent", "env", "options", "seed"}


@dataclass(frozen=True)
class Suite:
    """What a suite says, checked.

    Attributes:
        name: Of the suite.
        description: What it is, for the table and the picture.
        tables: By environment: the ``run``, the ``shared`` options, which every method gets that
            knows them, and the options of each of the ``methods``.
    """

    name: str
    description: str
    tables: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, name: str) -> Suite:
        """Reads a suite of the package by its name, or one of your own by the path of its file.

        Args:
            name: ``small``, or a path that ends in ``.toml``.

        Raises:
            ConfigError: There is no such suite, or it says what cannot be; names the key.

        Example:
            >>> suite = Suite.read("small")
            >>> suite.config("pointmaze-medium-navigate-singletask-v0", "fql", seed=1).n_step
            10
        """
        if name.endswith(".toml"):
            file: Any = Path(name)
        else:
            folder = resources.files(__package__)
            known = [f.name.removesuffix(".toml") for f in folder.iterdir() if ".toml" in f.name]
            if name not in known:
                raise unknown_name("suite", name, known)
            file = folder / f"{name}.toml"
        try:
            said = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"suite {name} cannot be read: {error}") from error
        refuse_unknown(f"key of suite {name}", said, ("description", "environments"))
        suite = cls(name, str(said.get("description", name)), said.get("environments", {}))
        suite._check()
        return suite

    @property
    def environments(self) -> list[str]:
        """In their order."""
        return list(self.tables)

    def config(
        self, env: str, method: str, *, seed: int, data_root: str | None = None, **options: Any
    ) -> TrainConfig:
        """One run of the suite.

        Args:
            env: Environment of the suite.
            method: Method of the suite.
            seed: Of the run.
            data_root: Folder of data sets, for environments whose data are not embedded.
            options: Of the method, in place of the suite's.

        Raises:
            ConfigError: The suite lacks the environment or the method; names the nearest.
        """
        if env not in self.tables:
            raise unknown_name(f"environment of suite {self.name}", env, self.tables)
        table = self.tables[env]
        if method not in table["methods"]:
            raise unknown_name(f"method of suite {self.name}", method, table["methods"])
        known = recipe_options(method)
        own = dict(table["methods"][method])
        run = {**table.get("run", {}), **own.pop("run", {})}
        embedded = run.pop("embedded", False)
        if not isinstance(embedded, bool):
            raise ConfigError(f"embedded must be true or false, got {embedded!r}")
        if embedded:
            data_root = str(EMBEDDED)
        shared = {k: v for k, v in table.get("shared", {}).items() if k in known}
        return TrainConfig(
            agent=method,
            env=env,
            options={**shared, **own, **options},
            **{"data_root": data_root, "threads": 1, "tensorboard": False, **run, "seed": seed},
        )

    def _check(self) -> None:
        """Refuses what could not be run, before anything is."""
        if not isinstance(self.tables, Mapping) or not self.tables:
            raise ConfigError(f"suite {self.name} has no table [environments.<env>]")
        for env, table in self.tables.items():
            where = f"suite {self.name}, {env}"
            _require_table(where, table, _TABLES)
            refuse_unknown(f"key of {where}", table, _TABLES)
            if not table.get("methods"):
                raise ConfigError(f"{where}: no methods")
            refuse_unknown(f"key of {where}, run", table.get("run", {}), {*_RUN, "embedded"})
            known: set[str] = set()
            for method, own in table["methods"].items():
                known |= set(recipe_options(method))
                _require_table(f"{where}, {method}", own, ("run",))
                try:
                    refuse_unknown("key of run", own.get("run", {}), {*_RUN, "embedded"})
                    config = self.config(env, method, seed=0)
                    weightless_agent(config)
                except FlowPolicyError as error:
                    raise ConfigError(f"{where}, {method}: {error}") from error
            refuse_unknown(f"option of any method of {where}", table.get("shared", {}), known)


def _require_table(where: str, value: Any, tables: Sequence[str]) -> None:
    """Refuses what is no table, and one whose entries of the names ``tables`` are none."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table, got {value!r}")
    for name in tables:
        if not isinstance(value.get(name, {}), Mapping):
            raise ConfigError(f"{where}: {name} must be a table, got {value[name]!r}")
