"""``flowpolicy verify <path>...``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.checkpoint import DamagedCheckpointError
from flowpolicy.checkpoint.verification import checkpoints_at, verify_checkpoint
from flowpolicy.cli.console import parse, say
from flowpolicy.data.saved import may_be_saved, verify_saved
from flowpolicy.errors import ConfigError, FlowPolicyError


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        paths: Run folders, folders of several runs, checkpoints, data sets of Dataset.save, or
            folders of those.
    """

    paths: tuple[Path, ...]


def command(arguments: Sequence[str]) -> None:
    """Reads everything and says of each what it is; the exit code is 1 where one is not intact."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy verify",
        positional=True,
        description="Read every byte of checkpoints and saved data sets. The exit code is 0 where "
        "all are intact, 1 where one is damaged or cannot be read by this flowpolicy, 2 where "
        "there is nothing to verify.",
    )
    if not options.paths:
        raise ConfigError("verify what? flowpolicy verify <run folder>")
    intact = [_all_intact(path) for path in options.paths]  # all, whatever there is of the first
    if False in intact:
        raise SystemExit(1)
    empty = [str(path) for path, found in zip(options.paths, intact, strict=True) if found is None]
    if empty:
        raise ConfigError(
            f"nothing to verify: {', '.join(empty)} holds no checkpoint and no saved data set"
        )


def _all_intact(path: Path) -> bool | None:
    """Whether all at a path is intact; ``None`` where there is nothing."""
    listed = checkpoints_at(path)
    sets = _data_sets_at(path, listed)
    intact = {checkpoint: _told(checkpoint) for checkpoint in listed}
    found = {checkpoint: whole for checkpoint, whole in intact.items() if whole is not None}
    if not found and not sets:
        return None
    for root in dict.fromkeys(checkpoint.parent for checkpoint in found):
        good = (each for each, whole in found.items() if whole and each.parent == root)
        newest = max(good, default=None)
        if len(found) > 1 or newest is None:
            say(f"newest intact in {root}: {newest.name if newest else 'none'}")
    sound = [_data_told(each) for each in sets]
    return all(found.values()) and all(sound)


def _told(checkpoint: Path) -> bool | None:
    """Whether a checkpoint is intact; ``None`` where a run has dropped it meanwhile."""
    try:
        verify_checkpoint(checkpoint)
    except (FlowPolicyError, FileNotFoundError) as error:
        if not os.path.lexists(checkpoint):
            return None
        damaged = isinstance(error, DamagedCheckpointError)
        say(f"damaged  {error}" if damaged else f"unusable {error}")
        return False
    say(f"intact   {checkpoint}")
    return True


def _data_sets_at(path: Path, checkpoints: Sequence[Path]) -> list[Path]:
    """The saved data sets of a path; the files of a run and of a checkpoint are none."""
    if path.is_dir():
        if any(path in (each, each.parent, each.parent.parent) for each in checkpoints):
            return []
        return [each for each in sorted(path.glob("*.safetensors")) if may_be_saved(each)]
    return [path] if path.is_file() else []


def _data_told(path: Path) -> bool:
    try:
        has_digests = verify_saved(path)
    except FlowPolicyError as error:
        say(f"damaged  {error}")
        return False
    say(f"intact   {path}" if has_digests else f"unknown  {path}: written without digests")
    return True
