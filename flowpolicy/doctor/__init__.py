"""What is wrong with a machine or a run, with numbers, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from flowpolicy.data import Dataset
from flowpolicy.doctor.actions import follows_its_teacher, noise_matters, not_saturated
from flowpolicy.doctor.examined import Examined, examine
from flowpolicy.doctor.finding import Finding as Finding
from flowpolicy.doctor.finding import worst as worst
from flowpolicy.doctor.hardware import disk, gpus, threads
from flowpolicy.doctor.learning import (
    clone_knows_new_rows,
    coefficients_have_room,
    losses_move,
    metrics_are_finite,
    updates_count,
    weights_leave_data,
)
from flowpolicy.doctor.outcomes import checkpoints_are_whole, policy_beats_its_clone
from flowpolicy.doctor.outcomes import seeds_are_there as seeds_are_there
from flowpolicy.doctor.rendering import mujoco_draws
from flowpolicy.doctor.software import compiler, python_version, torchrl_extension, versions
from flowpolicy.doctor.surroundings import data_sets, variables
from flowpolicy.doctor.values import critics_tell_apart, rewards_differ, values_in_reach
from flowpolicy.run_folder import RunFolder

Check = Callable[[Examined], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    checkpoints_are_whole,
    metrics_are_finite,
    updates_count,
    rewards_differ,
    values_in_reach,
    critics_tell_apart,
    losses_move,
    clone_knows_new_rows,
    weights_leave_data,
    coefficients_have_room,
    follows_its_teacher,
    noise_matters,
    not_saturated,
    policy_beats_its_clone,
)
"""What is looked at in a run, in the order in which a person would."""


def examine_machine(folder: str | Path = "runs") -> list[Finding]:
    """What flowpolicy finds on this machine: versions, cores, GPUs, drawing, disk, data, variables.

    One frame is drawn, in a process of its own, which takes some seconds.

    Args:
        folder: where runs go.

    Example:
        >>> from flowpolicy.doctor import examine_machine
        >>> findings = examine_machine()  # doctest: +SKIP
    """
    found: tuple[Iterable[Finding], ...] = (
        python_version(),
        versions(),
        torchrl_extension(),
        compiler(),
        threads(),
        gpus(),
        mujoco_draws(),
        disk(Path(folder)),
        data_sets(),
        variables(),
    )
    return [finding for findings in found for finding in findings]


def examine_run(
    folder: RunFolder, dataset: Dataset | None = None, *, data_root: str | Path | None = None
) -> list[Finding]:
    """What can be seen in a run of one seed: its tables, its networks on some rows, its files.

    Networks are asked about 512 rows of the data, once the run has a thousand updates.

    Args:
        folder: the run.
        dataset: its data, where they are not those that its configuration names.
        data_root: folder of data sets, where it is not the one of the configuration any more.

    Raises:
        ConfigError: it is no run folder, or that of several seeds.

    Example:
        >>> from flowpolicy.doctor import examine_run
        >>> findings = examine_run(RunFolder.open("runs/maze"))  # doctest: +SKIP
    """
    run, findings = examine(folder, dataset, data_root)
    return [*findings, *(finding for check in CHECKS for finding in check(run))]
