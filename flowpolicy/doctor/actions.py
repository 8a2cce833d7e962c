"""Whether the policy acts as its data and its clone let expect."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowpolicy.doctor.examined import Examined
from flowpolicy.doctor.finding import Finding
from flowpolicy.losses import DistillLoss
from flowpolicy.modules import Actor
from flowpolicy.modules.frozen import unfrozen

EDGE = 0.99
"""An action component beyond this counts as saturated."""

MOST_SATURATED = 0.4
"""Share of components by which the policy may be saturated more often than the data: past the edge
the critics' gradient is cut off, so what went there does not come back by itself."""

STATES, DRAWS = 64, 32
"""At how many states how many actions are drawn: a spread to within about two per cent."""

DEAD = 0.02
"""Share of the other's spread below which noise counts as ignored."""

FAR = 2.0
"""Squared error in variances of the teacher: two independent draws of it are as far from each
other."""

NEAR = 0.05
"""The same where the policy has hardly left its teacher: learned spreads ask for 0.25."""

KEEP_MODES = (
    "as a result of strong values this can be right; to keep modes, hold the policy closer to the "
    "clone (smaller spread, larger alpha)"
)
"""What to do about an actor that critics have left with one action."""


def not_saturated(run: Examined) -> Iterator[Finding]:
    """The share of action components at the edge of [-1, 1], against the data's."""
    if run.probes is None:
        return
    agent, evaluated = run.probes
    ours = _saturated(_drawn(agent.policy, evaluated.observation(agent.policy)))
    theirs = _saturated(evaluated.action(agent.policy))
    told = f"{ours:.0%} of the policy's action components beyond {EDGE}, {theirs:.0%} of the data's"
    if ours > theirs + MOST_SATURATED and run.critic is None:
        yield Finding(
            "warning",
            "saturation",
            f"{told}, which it clones",
            "check that actions were rescaled to [-1, 1]",
        )
    elif ours > theirs + MOST_SATURATED:
        yield Finding(
            "warning",
            "saturation",
            f"{told}; there the critics' gradient is cut off, and the policy cannot come back",
            "hold the policy closer to the data, or check that actions were rescaled to [-1, 1]",
        )
    else:
        yield Finding("ok", "saturation", told)


def noise_matters(run: Examined) -> Iterator[Finding]:
    """The spread of actions at one state: the clone's against the data's, others' against it."""
    if run.probes is None:
        return
    agent, evaluated = run.probes
    observation = evaluated.observation(agent.policy)[:STATES]
    whole = float(evaluated.action(agent.policy).std(dim=0).mean())
    spreads = {
        name: _spread(actor, observation) for name, actor in agent.actors.items() if actor.is_random
    }
    for name, spread in spreads.items():
        clone = spreads.get("flow", 0.0) if name != "flow" else 0.0
        other, against = (clone, "its clone's") if clone else (whole, "the data's over all states")
        told = f"actions of {name} spread by {spread:.3g} at one state, {against} by {other:.3g}"
        if spread < DEAD * other:
            yield Finding(
                "warning",
                "noise",
                f"{told}: the noise is ignored, one action is left where there were several",
                "" if run.critic is None or name == "flow" else KEEP_MODES,
            )
        else:
            yield Finding("ok", "noise", told)


def follows_its_teacher(run: Examined) -> Iterator[Finding]:
    """The distilled policy's error against its teacher, in the teacher's own variance."""
    if run.probes is None:
        return
    agent, evaluated = run.probes
    for loss in agent.loss.losses:
        if not isinstance(loss, DistillLoss):
            continue
        teacher = unfrozen(loss.teacher)
        if not teacher.is_random:
            continue
        with torch.no_grad():
            error = float(loss.per_sample(evaluated)[0].mean())
        variance = _spread(teacher, evaluated.observation(teacher)[:STATES]) ** 2
        gap = error / max(variance, 1e-12)
        told = (
            f"the policy is {error:.3g} (mean squared) from its teacher, whose actions vary by "
            f"{variance:.3g}: a gap of {gap:.2g}"
        )
        if gap > FAR:
            yield Finding(
                "warning",
                loss.name,
                f"{told}, further than two draws of the teacher are apart: the policy has left the "
                "data",
                "smaller spread or target_error, or a larger fixed alpha",
            )
        elif gap < NEAR:
            yield Finding(
                "note",
                loss.name,
                f"{told}; it acts as its teacher does, whatever the critics say",
                "a larger spread, or a tenfold lower fixed alpha, if it is no better than its "
                "clone",
            )
        else:
            yield Finding("ok", loss.name, told)


def _saturated(action: Tensor) -> float:
    return float((action.abs() > EDGE).double().mean())


def _spread(actor: Actor, observation: Tensor) -> float:
    """The standard deviation of actions at one state, averaged as variances."""
    actions = _drawn(actor, observation.expand(DRAWS, *observation.shape))
    return float(actions.var(dim=0).mean().sqrt())


@torch.no_grad()
def _drawn(actor: Actor, observation: Tensor) -> Tensor:
    """Actions ``[*B, A]``, the same at every call."""
    noise = actor.draw_noise(observation, torch.Generator().manual_seed(0))
    return actor.act(observation, noise)
