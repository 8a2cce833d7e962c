"""Whether the critics' values can be true."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import torch

from flowpolicy.doctor.examined import EARLY, Examined
from flowpolicy.doctor.finding import Finding, Level
from flowpolicy.losses import TDLoss

OVERSHOOT = 0.1
"""Share of the reach by which a network may miss its end: fitted values scatter about the true
ones, and the largest of a batch is not the typical one."""

RUNAWAY = 10.0
"""Reaches beyond the end, from where no update leads back: targets grow with the values."""

GROWS = 1.2
"""How much further values stand out than half a run ago when they are called growing."""

FLAT = 1e-3
"""Share of the reach below which critics tell no situation from another."""

SAME = 1e-4
"""How little, beside differences between states, actions may differ: one step among ten thousand,
longer than any episode here."""

ADVICE = {
    "too high": "hold the policy closer to the data (smaller spread or target_error, larger fixed "
    "alpha), take aggregation=min, a lower lr or a smaller tau",
    "too low": "a lower lr or a smaller tau; aggregation=mean, where it is a more pessimistic one",
}
"""What to do about values, by the side on which they are wrong."""


def values_in_reach(run: Examined) -> Iterator[Finding]:
    """Values beyond what rewards can add up to, and whether they go on."""
    if run.reach is None or run.step < EARLY:
        return
    low, high = run.reach
    reach = high - low
    columns = run.columns()
    for name in (column.removesuffix("_max") for column in columns if column.endswith("_max")):
        highest, lowest = run.column(f"{name}_max"), run.column(f"{name}_min")
        if not lowest or reach <= 0:
            continue
        top, bottom = _recently(highest, 0.9), _recently(lowest, 0.9)
        if math.isnan(top) or math.isnan(bottom):
            continue  # which is told of all metrics
        told = (
            f"between {bottom:.4g} and {top:.4g} at update {run.step:,}; the data's rewards add up "
            f"to something between {low:.4g} and {high:.4g}"
        )
        beyond = {"too high": [value - high for value in highest]}
        if not _penalised(run):
            beyond["too low"] = [low - value for value in lowest]
        outside = []
        for side, by in beyond.items():
            now, before = _recently(by, 0.9), _recently(by[: max(len(by) // 2, 1)], 0.5)
            if now <= OVERSHOOT * reach:
                continue
            growing = now > GROWS * max(before, 0) + 1e-9
            level: Level = "error" if now > RUNAWAY * reach else "warning"
            how = f"they are {side}{' and still run away' if growing else ''}"
            outside.append(Finding(level, name, f"{told}: {how}", ADVICE[side]))
        yield from outside or [Finding("ok", name, told)]


def rewards_differ(run: Examined) -> Iterator[Finding]:
    """Data whose rewards are all alike teach critics no preference."""
    if run.critic is not None and run.reach is not None and run.reach[0] == run.reach[1]:
        yield Finding(
            "note" if run.config.online_steps else "warning",
            "rewards",
            f"every row of the data promises the same return, {run.reach[0]:.4g}; no action is "
            "better than another",
            "check the task of the data set: some tasks have no success in it",
        )


def critics_tell_apart(run: Examined) -> Iterator[Finding]:
    """Critics that say the same everywhere, or of every action."""
    critic = run.critic
    if run.probes is None or critic is None or run.reach is None:
        return
    agent, evaluated = run.probes
    del agent
    observation, action = evaluated.observation(critic), evaluated.action(critic)
    with torch.no_grad():
        others = torch.stack([action.roll(shift, dims=0) for shift in range(16)])
        values = critic.values(observation.expand(16, -1, -1), others).mean(dim=0).squeeze(-1)
    between, within = float(values.mean(dim=0).std()), float(values.std(dim=0).mean())
    reach = run.reach[1] - run.reach[0]
    told = (
        f"values differ by {between:.3g} from state to state and by {within:.3g} from action to "
        "action (standard deviations)"
    )
    if between < FLAT * reach:
        yield Finding(
            "warning",
            "critics",
            f"{told}, where returns can differ by {reach:.4g}: they have collapsed",
            "more updates, a larger n_step or tau; look whether the data hold any success",
        )
    elif within < SAME * between:
        yield Finding(
            "warning",
            "critics",
            f"{told}: they do not look at the action, and give the policy no direction",
            "a shorter horizon or larger n_step; are the actions in the data the ones taken?",
        )
    else:
        yield Finding("ok", "critics", told)


def _penalised(run: Examined) -> bool:
    """Whether the values hold more than rewards: what next actions cost that are not the data's."""
    losses = () if run.agent is None else run.agent.loss.losses
    return any(isinstance(loss, TDLoss) and loss.penalty is not None for loss in losses)


def _recently(values: list[float], share: float) -> float:
    """The median of the numbers after ``share`` of all values, or of all; NaN where none is one."""
    late, numbers = (
        [value for value in some if not math.isnan(value)]
        for some in (values[int(share * len(values)) :], values)
    )
    return statistics.median(late or numbers or [math.nan])
