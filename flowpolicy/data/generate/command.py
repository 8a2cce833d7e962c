"""``generate``: a data set in OGBench's own file layout, made on this machine."""

from __future__ import annotations

import json
import math
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from flowpolicy.__about__ import __version__
from flowpolicy.cores import cores
from flowpolicy.data.generate.columns import Columns
from flowpolicy.data.generate.episodes import load_shard, shard_path
from flowpolicy.data.generate.settings import Settings, resolve
from flowpolicy.data.generate.workers import Task, record_all
from flowpolicy.data.generate.writer import publish, write_npz
from flowpolicy.data.locate import default_root
from flowpolicy.data.npz import sha256
from flowpolicy.durable import replace_durably
from flowpolicy.envs.names import register_ogbench
from flowpolicy.errors import DataError, require_at_least, require_installed


def generate(
    dataset: str,
    *,
    transitions: int,
    val_transitions: int | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    jobs: int | None = None,
    episode_length: int | None = None,
    noise: float | None = None,
    noise_smoothing: float | None = None,
    min_norm: float | None = None,
    random_actions: float | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Record a data set with the scripted expert of its environment.

    Writes ``<dataset>-v0.npz``, ``<dataset>-v0-val.npz`` and ``<dataset>-v0.json`` (seed, options,
    versions, checksums) into ``root``. The rows of an episode are one more than its transitions.
    Every episode has random generators of its own, derived from (seed, split, number), so the
    arrays do not depend on ``jobs``, and the first episodes of a longer data set are those of a
    shorter one. Episodes are kept one by one in ``.<dataset>-v0.partial``: a command that was
    stopped goes on where it was when it is run again.

    The sets carry OGBench's names but are made by this machine's simulator and are usually smaller
    than the published ones: do not compare scores across the two.

    Args:
        dataset: one of `GENERATED_DATASETS`; also with ``-v0`` or as a single-task name.
        transitions: training transitions, rounded up to whole episodes.
        val_transitions: validation transitions, likewise; a tenth of the training ones if None, no
            validation file if 0.
        seed: the seed of the whole data set.
        root: the folder; by default the one that `flowpolicy.data.load` reads.
        jobs: processes; by default as many as there are cores. With more than one, a script has to
            call this under ``if __name__ == "__main__":``.
        episode_length: rows per episode, 1001 by default (2001 in the giant maze).
        noise: maze: standard deviation of the action noise (0.5); play: of the plan's noise (0.1);
            noisy: largest standard deviation of the action noise (0.1).
        noise_smoothing: play: smoothing of the plan's noise, in steps (0.5).
        min_norm: noisy: sets the slowest motion of the expert (0.4).
        random_actions: play and noisy: probability of a uniform action (0; noisy: 0.1, puzzle 0.2).
        overwrite: replace files that exist.
        progress: show a progress bar.

    Returns:
        The path of the training file.

    Raises:
        ConfigError: a data set without a scripted expert, or an option out of range.
        DataError: the files exist, or unfinished work was recorded with other settings.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     path = generate(
        ...         "pointmaze-medium-navigate",
        ...         transitions=20,
        ...         episode_length=11,
        ...         root=root,
        ...         jobs=1,
        ...         progress=False,
        ...     )
        ...     print(path.name, np.load(path)["observations"].shape)
        pointmaze-medium-navigate-v0.npz (22, 2)
    """
    settings = resolve(
        dataset,
        seed=seed,
        episode_length=episode_length,
        noise=noise,
        noise_smoothing=noise_smoothing,
        min_norm=min_norm,
        random_actions=random_actions,
    )
    register_ogbench()  # refuse here what would end every process of a pool
    require_at_least("generate", "transitions", transitions, 1)
    if val_transitions is None:
        val_transitions = math.ceil(transitions / 10)
    require_at_least("generate", "val_transitions", val_transitions, 0)
    usable = max(1, int(cores()))
    jobs = usable if jobs is None else require_at_least("generate", "jobs", jobs, 1)
    per_episode = settings.episode_length - 1
    episodes = {
        "train": math.ceil(transitions / per_episode),
        "val": math.ceil(val_transitions / per_episode),
    }

    folder = default_root() if root is None else Path(root).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    train = folder / f"{settings.dataset}-v0.npz"
    val = folder / f"{settings.dataset}-v0-val.npz"
    partial = folder / f".{settings.dataset}-v0.partial"
    if not overwrite:
        _refuse_existing(train, val, partial)
    _open_partial(partial, settings, overwrite=overwrite)
    _record_missing(partial, settings, episodes, jobs, progress=progress)

    waiting = {train: write_npz(train, _join(partial, settings, "train", episodes["train"]))}
    if episodes["val"]:
        waiting[val] = write_npz(val, _join(partial, settings, "val", episodes["val"]))
    else:
        val.unlink(missing_ok=True)
    record = {
        **settings.to_dict(),
        "transitions": episodes["train"] * per_episode,
        "val_transitions": episodes["val"] * per_episode,
        "command": _command(settings, episodes, per_episode),
        "versions": _versions(),
        "sha256": {path.name: sha256(waiting[path]) for path in waiting},
    }
    note = train.with_suffix(".json")
    replace_durably(note, _json(record))
    for path in (val, train):  # the training file last: where it is, everything is
        if path in waiting:
            publish(waiting[path], path)
    shutil.rmtree(partial)
    return train


def _refuse_existing(train: Path, val: Path, partial: Path) -> None:
    """A validation file alone, beside unfinished work, was left by a command that was killed."""
    existing = [path for path in (train, val) if path.exists()]
    if existing and (train.exists() or not partial.exists()):
        raise DataError(
            f"generate: {existing[0]} exists already. Choose another root, or pass overwrite=True "
            "(--overwrite) to replace it."
        )


def _open_partial(partial: Path, settings: Settings, *, overwrite: bool) -> None:
    """The folder of finished episodes: new, or one that was recorded with the same settings."""
    wanted = {**settings.to_dict(), "versions": _versions()}
    note = partial / "settings.json"
    if partial.exists():
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}  # killed before the note was written: nothing to keep
        if found == wanted:
            return
        if found and not overwrite:
            changed = [key for key in wanted if found.get(key) != wanted[key]]
            described = "; ".join(f"{k}: {found.get(k)!r} then, {wanted[k]!r} now" for k in changed)
            raise DataError(
                f"generate: {partial} holds unfinished work with other settings ({described}). Run "
                "with those settings to finish it, or delete the folder, or pass overwrite=True "
                "(--overwrite) to start again."
            )
        shutil.rmtree(partial)
    partial.mkdir()
    replace_durably(note, _json(wanted))


def _record_missing(
    partial: Path, settings: Settings, episodes: dict[str, int], jobs: int, *, progress: bool
) -> None:
    """Record every episode that is not there yet, with a progress bar."""
    require_installed("a progress bar", "tqdm", extra="cli")
    from tqdm import tqdm

    tasks: list[Task] = [(split, index) for split in episodes for index in range(episodes[split])]
    missing = [t for t in tasks if load_shard(shard_path(partial, *t), settings) is None]
    with tqdm(
        total=len(tasks),
        initial=len(tasks) - len(missing),
        desc=settings.dataset,
        unit="episode",
        disable=not progress,
    ) as bar:
        for _ in record_all(missing, settings, partial, jobs):
            bar.update()


def _join(partial: Path, settings: Settings, split: str, episodes: int) -> Columns:
    """The episodes of a split, one after the other."""
    parts: list[Columns] = []
    for index in range(episodes):
        path = shard_path(partial, split, index)
        episode = load_shard(path, settings)
        if episode is None:
            raise DataError(f"generate: {path} was damaged meanwhile. Run the same command again.")
        parts.append(episode)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _command(settings: Settings, episodes: dict[str, int], per_episode: int) -> str:
    """The command that makes the same data set."""
    options: dict[str, Any] = {
        "transitions": episodes["train"] * per_episode,
        "val-transitions": episodes["val"] * per_episode,
        "seed": settings.seed,
    }
    usual = resolve(settings.dataset, seed=settings.seed).to_dict()
    for name, value in settings.to_dict().items():
        if value != usual[name]:
            options[name.replace("_", "-")] = value
    words = " ".join(f"--{name} {value}" for name, value in options.items())
    return f"flowpolicy data generate {settings.dataset} {words}"


def _json(note: dict[str, Any]) -> bytes:
    return (json.dumps(note, indent=2) + "\n").encode()


def _versions() -> dict[str, str]:
    """What the bytes of an episode depend on, besides the settings."""
    found = {"flowpolicy": __version__}
    for package in ("ogbench", "mujoco", "gymnasium", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
