"""Numbers of a run as they come: CSV files, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowpolicy.durable import replace_durably
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import Evaluation
from flowpolicy.run_folder import read_table


class CsvFile:
    """A table that is whole on the disk after every row.

    Args:
        path: Of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row; absent values stay empty, also those of new columns in earlier rows."""
        unknown = [name for name in row if name not in self._columns]
        if unknown:
            self._columns += unknown
            self.trim(lambda _: True)
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def trim(self, keep: Callable[[Mapping[str, str]], bool]) -> list[dict[str, str]]:
        """Drops rows, and a last one that was cut off; returns those that stay.

        Args:
            keep: Whether a row stays.

        Raises:
            ConfigError: The file is no such table.
        """
        if not self.path.exists():
            return []
        columns, rows = read_table(self.path)
        try:
            rows = [row for row in rows if keep(row)]
        except (KeyError, ValueError) as error:
            raise ConfigError(f"{self.path} has a row that is not one: {error}") from error
        self._columns += [name for name in columns if name not in self._columns]
        whole = io.StringIO(newline="")
        writer = csv.DictWriter(whole, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        replace_durably(self.path, whole.getvalue().encode())
        return rows


class TensorBoard:
    """Scalars as TensorBoard events through TorchRL's logger; nothing where it is not installed.

    Args:
        folder: The events lie in ``folder/tensorboard``.
        enabled: Whether they are wanted.
    """

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        self._logger: Any = None
        if not enabled:
            return
        if importlib.util.find_spec("tensorboard") is None:
            warnings.warn(
                "no TensorBoard events: tensorboard is not installed "
                "(pip install 'flowpolicy[cli]'); metrics.csv and eval.csv hold the same numbers",
                stacklevel=3,
            )
            return
        from torchrl.record.loggers.tensorboard import TensorboardLogger

        self._logger = TensorboardLogger(exp_name="tensorboard", log_dir=str(folder))

    def log(self, group: str, values: Mapping[str, Any], step: int) -> None:
        """Logs every number as ``group/name``."""
        if self._logger is None:
            return
        for name, value in values.items():
            if isinstance(value, int | float):
                self._logger.log_scalar(f"{group}/{name}", float(value), step=step)

    def forget_after(self, step: int) -> None:
        """Hides the events of later steps, of a process before this one, from TensorBoard."""
        if self._logger is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        self._logger.experiment.file_writer.add_event(Event(step=step + 1, session_log=start))

    def flush(self) -> None:
        """Writes out what is buffered."""
        if self._logger is not None:
            self._logger.experiment.flush()

    def close(self) -> None:
        """Writes out what is buffered, and ends."""
        if self._logger is not None:
            self._logger.experiment.close()


def evaluation_row(step: int, env_steps: int, actor: str, result: Evaluation) -> dict[str, Any]:
    """One row of ``eval.csv``; empty cells where the environment knows no success."""
    low, high = result.interval or (None, None)
    return {
        "step": step,
        "env_steps": env_steps,
        "actor": actor,
        "success": result.success_rate,
        "low": low,
        "high": high,
        "successes": None if result.successes is None else sum(result.successes),
        "episodes": result.episodes,
        "return": result.mean_return,
        "return_std": result.std_return,
        "length": result.mean_length,
        "seconds": round(result.seconds, 3),
    }
