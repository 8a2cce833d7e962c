"""The folder of a training run: what lies where, and how it is read back."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpolicy.checkpoint import Checkpoints
from flowpolicy.checkpoint.policy import hint_at_runs
from flowpolicy.durable import replace_durably
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import Protocol, protocol


@dataclass(frozen=True)
class RunFolder:
    """A run's folder; one of several seeds holds a folder ``seed_<n>`` for each.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: Mapping[str, Any]) -> RunFolder:
        """Makes a new folder with ``config.json`` in it.

        Raises:
            ConfigError: It exists already; results are never mixed or overwritten.
        """
        cls.refuse_existing(path)
        folder = cls(Path(path))
        try:
            folder.path.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"run folder {path} cannot be made: {error.strerror}") from error
        folder.write_json("config.json", config)
        return folder

    @staticmethod
    def refuse_existing(path: str | os.PathLike[str]) -> None:
        """Says no to a folder that is there.

        Raises:
            ConfigError: It exists.
        """
        if Path(path).exists():
            raise ConfigError(
                f"run folder {path} exists already; go on with it by --resume auto, choose another "
                "with --out, or remove it"
            )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Opens an existing folder.

        Raises:
            ConfigError: It is not the folder of a run.
        """
        folder = cls(Path(path))
        if not folder.path.is_dir():
            raise ConfigError(f"there is no run folder {path}")
        if not (folder.path / "config.json").is_file():
            raise ConfigError(
                f"{path} is not a run folder: it has no config.json{hint_at_runs(folder.path)}"
            )
        return folder

    @property
    def metrics(self) -> Path:
        """Training metrics: a row every so many updates."""
        return self.path / "metrics.csv"

    @property
    def evaluations(self) -> Path:
        """A row per evaluation and actor."""
        return self.path / "eval.csv"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"

    @property
    def bad_batch(self) -> Path:
        """The batch at which a run gave up, because its numbers were not finite."""
        return self.path / "bad_batch.safetensors"

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.path / "checkpoints")

    def config(self) -> dict[str, Any]:
        """What was asked for, as written at the start.

        Raises:
            ConfigError: The file is not a JSON object.
        """
        return self.read_json("config.json")

    def rules(self, name: str | None = None) -> Protocol:
        """The protocol of this name, or where ``None`` that of the run.

        Raises:
            ConfigError: There is no such protocol.
        """
        return protocol(name or self.config().get("protocol", "fql"))

    def seeds(self) -> list[RunFolder]:
        """The folders of single seeds; this one alone where there is none."""
        numbers = {p: p.name.removeprefix("seed_") for p in self.path.glob("seed_*")}
        found = {
            int(number): p
            for p, number in numbers.items()
            if number.isdecimal() and (p / "config.json").is_file()
        }
        return [RunFolder(found[number]) for number in sorted(found)] or [self]

    def missing_seeds(self) -> list[int]:
        """The seeds that a run of several was begun with and that have no folder yet."""
        begun = {seed.path.name for seed in self.seeds()}
        return [n for n in self.config().get("seeds", ()) if f"seed_{n}" not in begun]

    def read_evaluations(self) -> list[dict[str, str]]:
        """The rows of ``eval.csv``; none before the first evaluation.

        Raises:
            ConfigError: It is no table.
        """
        return read_table(self.evaluations)[1] if self.evaluations.is_file() else []

    def forget_tables(self) -> None:
        """Removes the tables of a run that begins anew."""
        for table in (self.metrics, self.evaluations):
            table.unlink(missing_ok=True)

    def write_json(self, name: str, value: Mapping[str, Any]) -> Path:
        """Writes a JSON file that is complete or absent."""
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        return replace_durably(self.path / name, text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads a JSON object of the folder.

        Raises:
            ConfigError: It is missing or is not a JSON object.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ConfigError(f"{path} must hold a JSON object, got {type(value).__name__}")
        return value


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV file, without a last line that is not whole.

    Raises:
        ConfigError: It cannot be read, or a row has other columns than the header.
    """
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a run that was killed may have left half a line
        table = csv.DictReader(io.StringIO(whole, newline=""))
        columns, rows = list(table.fieldnames or ()), list(table)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path} is not a table: {error}") from error
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ConfigError(
                f"{path}: row {number} has not the {len(columns)} columns of the header; the file "
                "was changed since it was written. Remove the row"
            )
    return columns, rows
