"""Whether losses, weights and coefficients do their work."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import torch

from flowpolicy.agents.guard import IN_A_ROW, SKIPPED
from flowpolicy.doctor.examined import EARLY, Examined
from flowpolicy.doctor.finding import Finding
from flowpolicy.losses import FlowMatchingLoss, SpreadLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.frozen import unfrozen
from flowpolicy.weights import Weight

FEWEST = 0.02
"""Share of the rows that weights should amount to: one in fifty leaves five of a batch of 256."""

STILL = 1e-6
"""Relative change below which a loss counts as standing still; batches alone change it by more."""

OVERFIT = 1.5
"""Error on new rows in errors on old ones. Both hold the variance of the directions, which is most
of it; 512 rows tell the ratio to a tenth."""

AT_BOUND = 0.99
"""Share of the largest coefficient from which it counts as being there."""

OFF = 1e-3
"""A coefficient below this adds nothing to a loss of the size of the others."""

OFTEN = 0.01
"""Share of the updates that may be skipped before the numbers are suspect rather than unlucky."""


def metrics_are_finite(run: Examined) -> Iterator[Finding]:
    """Numbers in the table that are none."""
    if not run.metrics:
        yield Finding("note", "metrics", "there is no row yet; a run writes one each log_every")
        return
    bad = [
        (name, int(row.get("step", 0)))
        for row in run.metrics
        for name, value in row.items()
        if not math.isfinite(value)
    ]
    if bad:
        name, step = bad[0]
        guarded = bool(run.column(SKIPPED))
        yield Finding(
            "warning" if guarded else "error",
            "metrics",
            f"{name} is not finite at update {step:,}, the first of {len(bad)} such numbers; "
            + ("such updates are skipped" if guarded else "what came after it cannot be trusted"),
            "go back to a checkpoint before it, with a lower lr or clip_norm=1.0; look for rewards "
            "of thousands",
        )


def updates_count(run: Examined) -> Iterator[Finding]:
    """Updates that were left out because a loss or a gradient was not finite."""
    counts, in_a_row = run.column(SKIPPED), run.column(IN_A_ROW)
    if not counts:
        return
    total, last = counts[-1], in_a_row[-1] if in_a_row else 0
    told = f"{total:,.0f} of {run.step:,} updates were skipped, because a number was not finite"
    if not total:
        yield Finding("ok", SKIPPED, "no update was")
        return
    yield Finding(
        "error" if total > OFTEN * run.step or last else "warning",
        SKIPPED,
        f"{told}{f'; the last {last:,.0f} among them, so that nothing is learned' if last else ''}",
        "find the rows: rewards or observations of a buffer of your own; or a lower lr",
    )


def losses_move(run: Examined) -> Iterator[Finding]:
    """Losses that stand still although batches differ.

    Those that are scaled by their own batch are left out: the policy gradient's is then 1 wherever
    all values have one sign.
    """
    if run.agent is None or run.step < EARLY:
        return
    for loss in run.agent.loss.losses:
        name = f"loss_{loss.name}"
        column = run.column(name)
        late = column[len(column) // 2 :]
        if loss.has_batch_statistic or len(late) < 4:
            continue
        mean, spread = statistics.fmean(late), statistics.pstdev(late)
        if spread <= STILL * abs(mean):
            yield Finding(
                "warning",
                name,
                f"{mean:.4g} in every row of the second half of the run: nothing reaches it, or "
                "nothing is left to learn",
                "check that its coefficient is not 0 and that the data are not all alike",
            )


def coefficients_have_room(run: Examined) -> Iterator[Finding]:
    """Learned coefficients at their bound, or at nothing."""
    if run.agent is None or run.step < EARLY:
        return
    bounds = {
        each.constrained.name: each.largest
        for each in run.agent.loss.losses
        if isinstance(each, SpreadLoss)
    }
    for loss in run.agent.loss.losses:
        if loss.learned_coefficient is None:
            continue
        value = float(unfrozen(loss.learned_coefficient)().detach())
        largest = bounds.get(loss.name, math.inf)
        subject = f"coefficient of {loss.name}"
        if value >= AT_BOUND * largest:
            yield Finding(
                "warning",
                subject,
                f"{value:.4g}, its bound of {largest:.4g}: the policy cannot follow its clone as "
                "closely as asked, and the critics hardly count any more",
                "a larger spread, or more updates of the clone; wider networks of the policy",
            )
        elif value < OFF:
            yield Finding(
                "note",
                subject,
                f"{value:.2g}: the limit that it holds is met without it, so that the loss hardly "
                "counts",
                "a smaller spread or limit, if the policy leaves the data",
            )
        else:
            yield Finding("ok", subject, f"{value:.4g}")


def clone_knows_new_rows(run: Examined) -> Iterator[Finding]:
    """The flow-matching error on rows that it has not seen, against those that it has."""
    if run.probes is None or run.unseen is None:
        return
    agent, seen = run.probes
    unseen = EvaluatedBatch(run.unseen, seen.keys)
    for loss in agent.loss.losses:
        if not isinstance(loss, FlowMatchingLoss):
            continue
        plain = FlowMatchingLoss(loss.field, loss.path)
        with torch.no_grad():
            old, new = (float(plain.per_sample(each)[0].mean()) for each in (seen, unseen))
        told = f"error {new:.3g} on rows of the validation split, {old:.3g} on those of training"
        if new > OVERFIT * old:
            yield Finding(
                "warning",
                loss.name,
                f"{told}: the clone has learned its rows by heart",
                "fewer updates or smaller networks; more data",
            )
        else:
            yield Finding("ok", loss.name, told)


def weights_leave_data(run: Examined) -> Iterator[Finding]:
    r"""The effective sample size of weights, :math:`(\sum w)^2 / (n \sum w^2)`."""
    if run.probes is None:
        return
    agent, evaluated = run.probes
    for loss in agent.loss.losses:
        weight = getattr(loss, "weight", None)
        if not isinstance(weight, Weight):
            continue
        with torch.no_grad():
            w = weight.of(evaluated).double().flatten()
        share = float(w.sum().square() / (len(w) * w.square().sum()).clamp_min(1e-300))
        told = f"they amount to {share:.0%} of the rows; their mean is {float(w.mean()):.3g}"
        if share < FEWEST:
            yield Finding(
                "warning",
                f"weights of {loss.name}",
                f"{told}: so few rows teach the clone that it repeats them",
                "a higher temperature",
            )
        else:
            yield Finding("ok", f"weights of {loss.name}", told)
