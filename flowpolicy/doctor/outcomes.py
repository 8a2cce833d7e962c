"""What came out: all seeds, checkpoints that can be read, and a policy better than its clone."""

from __future__ import annotations

import os
from collections.abc import Iterator

from flowpolicy.checkpoint import DamagedCheckpointError, verify_checkpoint
from flowpolicy.doctor.examined import EARLY, Examined
from flowpolicy.doctor.finding import Finding
from flowpolicy.durable import STAGING_PREFIX
from flowpolicy.errors import ConfigError, FlowPolicyError
from flowpolicy.results import read_points
from flowpolicy.run_folder import RunFolder

ENOUGH = 20
"""Episodes without any success from which the true rate is below a sixth, at 95 %."""


def seeds_are_there(folder: RunFolder) -> Iterator[Finding]:
    """Seeds of a run of several that were not begun."""
    for number in folder.missing_seeds():
        yield Finding(
            "note",
            f"seed {number}",
            f"has no folder in {folder.path}: it waits for its turn, or was never begun",
            "if nothing trains there, start the command again with --resume auto",
        )


def checkpoints_are_whole(run: Examined) -> Iterator[Finding]:
    """Every checkpoint, byte by byte and number by number; and what a killed process left."""
    checkpoints = run.folder.checkpoints
    steps = checkpoints.steps()
    if not steps:
        yield Finding("note", "checkpoints", "there is none yet")
        return
    whole = []
    for step in steps:
        path = checkpoints.path(step)
        try:
            verify_checkpoint(path)
        except (FlowPolicyError, FileNotFoundError) as error:
            if not os.path.lexists(path):
                continue  # the run has dropped it meanwhile
            damaged = isinstance(error, DamagedCheckpointError)
            yield Finding(
                "error" if step == steps[-1] else "warning",
                "checkpoints",
                str(error) if damaged else f"cannot be read by this flowpolicy: {error}",
                "remove it, or copy it anew from where it is whole; loading takes the newest that "
                "is intact"
                if damaged
                else "use the flowpolicy that wrote it",
            )
        else:
            whole.append(step)
    if whole:
        told = ", ".join(f"{step:,}" for step in whole)
        yield Finding("ok", "checkpoints", f"intact at update {told}")
    left = [p.name for p in checkpoints.root.glob(f"{STAGING_PREFIX}*")]
    if left:
        yield Finding(
            "note",
            "checkpoints",
            f"{len(left)} unfinished, as a process leaves that is killed while it saves: {left[0]}",
            "remove them if no process trains here",
        )


def policy_beats_its_clone(run: Examined) -> Iterator[Finding]:
    """The last evaluation of the policy, against that of the clone."""
    try:
        actors = read_points(run.folder)
    except ConfigError as error:
        yield Finding("note", "evaluation", str(error))
        return
    last = {name: seeds[0][-1] for name, seeds in actors.items()}
    for name, point in last.items():
        clone = last.get("flow")
        if name != "policy" or clone is None or clone.step != point.step or point.step < EARLY:
            continue
        unit = "" if point.successes is None else " %"
        low, high = point.band
        worst, best = clone.band
        told = (
            f"{point.value:.4g}{unit} ({low:.4g} to {high:.4g}) at update {point.step:,}, its "
            f"clone {clone.value:.4g}{unit} ({worst:.4g} to {best:.4g})"
        )
        if high < worst:
            yield Finding(
                "warning",
                name,
                f"{told}: learning from values made it worse",
                "hold it closer to the clone (smaller spread, larger alpha); look at the values",
            )
        else:
            yield Finding("ok", name, told)
    points = [p for p in actors.get("policy", [[]])[0] if p.successes is not None]
    episodes = sum(point.episodes for point in points)
    late = bool(points) and points[-1].step >= EARLY
    if late and episodes >= ENOUGH and not any(point.successes for point in points):
        yield Finding(
            "note",
            "policy",
            f"no success in {episodes} episodes so far",
            "is the budget near the paper's? Manipulation takes hundreds of thousands of updates; "
            "docs/results tells what a few thousand do",
        )
