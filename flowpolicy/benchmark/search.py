"""A search over settings with Optuna, whose trials are cells like any others."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowpolicy.benchmark.backends import Backend, Cells
from flowpolicy.benchmark.cell import FINISHED, held
from flowpolicy.benchmark.cells import run_cells
from flowpolicy.benchmark.grid import Grid
from flowpolicy.errors import ConfigError, require_installed
from flowpolicy.results import read_points
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import TrainConfig

JOURNAL = "search.journal"
_AGAIN = "again"
"""Attribute of a trial that takes up another one, which failed."""
_SETTINGS = "settings"
"""Attribute of a study: what its trials have in common."""


def run_search(
    grid: Grid,
    out: Path,
    *,
    backend: Backend,
    retries: int = 1,
    data_root: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> dict[Path, str]:
    """Runs what is left of a search's trials.

    A trial runs every cell of the grid with the values that it chose, and its value is the mean of
    their last evaluations. Every trial is in a journal file at once. Those that a kill cut off are
    marked as failed there. The values of those that failed are tried again before others, and their
    cells go on; values that cannot be together are not.

    Args:
        grid: The cells of a trial, and what is searched through.
        out: Folder of the sweep.
        backend: Where cells run.
        retries: How often a cell that failed is tried again.
        data_root: Folder of data sets, where the grid names none.
        announce: Called with one line about each cell and each trial.

    Returns:
        Why cells failed, by their folders.

    Raises:
        ConfigError: Optuna is not installed, or the grid has no search, or the folder's is of
            another one.
        HeldError: Another process searches in this folder.
        Stopped: SIGINT or SIGTERM came; what was running is saved.
    """
    if (space := grid.space) is None:
        raise ConfigError(f"grid {grid.name} has no [search]")
    require_installed("a search", "optuna", extra="sweep")
    tell = announce or (lambda _: None)
    failures: dict[Path, str] = {}
    with held(out / ".search.lock"):
        _clear_up(out / JOURNAL)
        study = open_study(out, grid.settings, seed=space.seed)
        give_back(study)
        while (left := space.trials - tried(study)) > 0:
            trials = [study.ask() for _ in range(min(left, space.at_once))]
            tell(f"trials {', '.join(str(trial.number) for trial in trials)} of {space.trials}")
            cells = [_cells(grid, out, data_root, space.suggest(t), tell) for t in trials]
            together = {path: config for each in cells for path, config in each.items()}
            failures |= run_cells(together, backend=backend, retries=retries, announce=announce)
            for trial, each in zip(trials, cells, strict=True):
                _end(study, trial, each)
        if completed(study):
            best = study.best_trial
            tell(f"best of {space.trials} trials: {_told(best.params)} with {best.value:.1f}")
    return failures


def _cells(
    grid: Grid,
    out: Path,
    data_root: str | None,
    found: Mapping[str, Any],
    tell: Callable[[str], None],
) -> dict[Path, TrainConfig]:
    """Those of a trial; none, and a word about it, where its values cannot be together."""
    try:
        return grid.cells(out, data_root=data_root, **found)
    except ConfigError as error:
        tell(f"a trial fails: {error}")
        return {}


def _clear_up(journal: Path) -> None:
    """Removes what a kill or a full disk leaves: a lock that nobody holds, half a line."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.is_file():
        with journal.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def open_study(out: Path, settings: Mapping[str, Any], *, seed: int) -> Any:
    """The study whose journal lies in a folder; made where there is none.

    Args:
        out: The folder.
        settings: What its trials have in common; of others their values could not be compared.
        seed: Of what it chooses.

    Raises:
        ConfigError: The journal is of other settings.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Its lock is a link to this path, which would lead nowhere were it relative.
    journal = (out / JOURNAL).absolute()
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(
        storage=storage, study_name="sweep", direction="maximize", load_if_exists=True
    )
    known = study.user_attrs.get(_SETTINGS, settings)  # earlier journals lack them
    for name in {**known, **settings}:
        if known.get(name) != settings.get(name):
            raise ConfigError(
                f"{journal} is of a search with {name} {known.get(name)!r}, the grid says "
                f"{settings.get(name)!r}: their trials cannot be compared. Search into another "
                "folder, --out"
            )
    study.set_user_attr(_SETTINGS, dict(settings))
    # A study that goes on would begin the same random numbers again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def give_back(study: Any) -> None:
    """Puts the values of trials that failed, or that a kill cut off, first in line.

    The latter are then marked as failed. In this order a kill in between repeats a trial, whose
    cells are finished by then, and loses none.
    """
    from optuna.trial import TrialState

    taken_up = {trial.user_attrs.get(_AGAIN) for trial in study.trials}
    for trial in study.get_trials(states=[TrialState.RUNNING, TrialState.FAIL]):
        if trial.number not in taken_up:
            study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})
        if trial.state is TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)


def tried(study: Any) -> int:
    """How many trials were tried; one that is tried again counts once, when that ends."""
    ended = [trial for trial in study.trials if trial.state.is_finished()]
    return len(ended) - sum(_AGAIN in trial.user_attrs for trial in study.trials)


def completed(study: Any) -> list[Any]:
    """The trials that have a value."""
    from optuna.trial import TrialState

    return list(study.get_trials(states=[TrialState.COMPLETE]))


def _end(study: Any, trial: Any, cells: Cells) -> None:
    from optuna.trial import TrialState

    if not cells:
        study.tell(trial, state=TrialState.PRUNED)  # as bad as can be, and not to be tried again
    elif all((path / FINISHED).is_file() for path in cells):
        study.tell(trial, statistics.fmean(map(_last, cells, cells.values())))
    else:
        study.tell(trial, state=TrialState.FAIL)


def _last(cell: Path, config: TrainConfig) -> float:
    """What a cell's last evaluation says of its first actor."""
    return read_points(RunFolder(cell))[config.eval_actors[0]][0][-1].value


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()
    )
