"""Weights, critics' aggregations, samplers and policy extractions, to be combined freely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flowpolicy as fp

HIDDEN = (32, 32)
STEPS = 3


@dataclass
class Kit:
    """The networks that every combination starts from.

    Attributes:
        horizon: environment steps in a chunk; the action's width here.
        aggregation: over the critics, wherever one value is made of several.
        sampler: turns the field into a flow.
    """

    horizon: int
    aggregation: fp.functional.Aggregation
    sampler: Callable[..., fp.Sampler]

    def __post_init__(self) -> None:
        self.field = self.new_field()
        self.flow = self.sampler(self.field, steps=STEPS)
        self.critic = fp.CriticEnsemble(1, self.horizon, HIDDEN, size=3)
        self.target = fp.TargetNetwork(self.critic, tau=0.05)
        self.value = fp.ValueNetwork(1, HIDDEN)

    def new_field(self) -> fp.VelocityField:
        return fp.VelocityField(1, self.horizon, HIDDEN)

    def td(self, actor: fp.Actor) -> fp.TDLoss:
        return fp.TDLoss(self.critic, self.target, next_actor=actor, aggregation=self.aggregation)

    def dpg(self, actor: fp.Actor) -> fp.DPGLoss:
        """Scaled, so that the strengths of the constraints mean the same everywhere."""
        return fp.DPGLoss(
            actor, self.critic, scale=fp.inverse_mean_abs, aggregation=self.aggregation
        )


# -- weights: of (kit) to the weight and the losses that it needs ----------------------------------


def unweighted(_: Kit) -> tuple[None, list[fp.Loss]]:
    return None, []


def value_aware(kit: Kit) -> tuple[fp.Weight, list[fp.Loss]]:
    weight = fp.ValueAwareWeight(
        kit.target, critic=kit.critic, reference=kit.flow, temperature=0.1, combine=kit.aggregation
    )
    return weight, []


def advantage(kit: Kit) -> tuple[fp.Weight, list[fp.Loss]]:
    weight = fp.AdvantageWeight(kit.critic, kit.value, temperature=0.1, aggregation=kit.aggregation)
    return weight, [fp.ValueLoss(kit.value, kit.target)]


def upper_expectile(kit: Kit) -> tuple[fp.Weight, list[fp.Loss]]:
    weight = fp.AdvantageWeight(kit.critic, kit.value, temperature=0.1, maximum=20.0)
    return weight, [fp.ExpectileLoss(kit.value, kit.target, expectile=0.7)]


WEIGHTS = {
    "unweighted": unweighted,
    "value_aware": value_aware,
    "advantage": advantage,
    "upper_expectile": upper_expectile,
}


# -- extractions: of (kit, the weighted clone's loss) to the agent's policy and losses ------------

Extraction = Callable[[Kit, fp.Loss], tuple[fp.Actor, list[fp.Loss]]]


def clone(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    return kit.flow, [flow_loss, kit.td(kit.flow)]


def best_of(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    policy = fp.BestOf(kit.flow, kit.critic, n=8, aggregation=kit.aggregation)
    return policy, [flow_loss, kit.td(policy)]


def through_the_flow(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    return kit.flow, [flow_loss, kit.td(kit.flow), kit.dpg(kit.flow)]


def distilled(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.OneStepActor(1, kit.horizon, HIDDEN)
    distill = fp.DistillLoss(actor, teacher=kit.flow, coefficient=1.0)
    return actor, [flow_loss, kit.td(actor), distill, kit.dpg(actor)]


def best_of_distilled(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.OneStepActor(1, kit.horizon, HIDDEN)
    distill = fp.DistillLoss(actor, teacher=kit.flow, coefficient=1.0)
    policy = fp.BestOf(actor, kit.target, n=4, aggregation=kit.aggregation)
    return policy, [flow_loss, kit.td(actor), distill, kit.dpg(actor)]


def two_bootstraps(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.OneStepActor(1, kit.horizon, HIDDEN)
    learned = fp.LearnedCoefficient(1.0)
    distill = fp.DistillLoss(actor, teacher=kit.flow, coefficient=learned)
    td = fp.TDLoss(
        kit.critic, kit.target, next_actor=(actor, kit.flow), aggregation=kit.aggregation
    )
    return actor, [flow_loss, td, distill, kit.dpg(actor), fp.DualLoss(distill, limit=0.1)]


def edited(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    edit = fp.TanhGaussianActor(1 + kit.horizon, kit.horizon, HIDDEN)
    actor = fp.EditActor(kit.flow, edit, scale=0.6)
    entropy = fp.EntropyLoss(actor, coefficient=0.01)
    losses = [kit.td(kit.flow), kit.dpg(actor), entropy]
    for loss in losses[1:]:
        loss.set_keys(noise="edit_noise")
    return actor, [flow_loss, *losses]


def adjoint_matched(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    field = kit.new_field()
    policy = kit.sampler(field, steps=STEPS)
    base = fp.TargetNetwork(kit.field, tau=0.05)
    match = fp.AdjointMatchingLoss(field, base, kit.target, temperature=0.3, steps=10)
    return policy, [flow_loss, kit.td(policy), match]


def best_of_adjoint_matched(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    flow, losses = adjoint_matched(kit, flow_loss)
    return fp.BestOf(flow, kit.critic, n=4, aggregation=kit.aggregation), losses


def differentiated_paths(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    field = kit.new_field()
    policy = kit.sampler(field, steps=STEPS)
    base = fp.TargetNetwork(kit.field, tau=0.05)
    match = fp.BasicAdjointMatchingLoss(
        field, base, kit.critic, temperature=0.3, steps=10, aggregation=kit.aggregation
    )
    return policy, [flow_loss, kit.td(policy), match]


def distilled_gaussian(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.TanhGaussianActor(1, kit.horizon, HIDDEN)
    distill = fp.DistillLoss(actor, teacher=kit.flow, coefficient=0.3)
    entropy = fp.EntropyLoss(actor, coefficient=fp.LearnedCoefficient(0.1))
    dual = fp.DualLoss(entropy, limit=1.5 * kit.horizon)
    return actor, [flow_loss, kit.td(actor), kit.dpg(actor), distill, entropy, dual]


def slow_actor(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.OneStepActor(1, kit.horizon, HIDDEN)
    slow = fp.TargetNetwork(actor, tau=0.05)
    distill = fp.DistillLoss(actor, teacher=kit.flow, coefficient=1.0)
    return actor, [flow_loss, kit.td(slow), distill, kit.dpg(actor)]


def through_its_noise(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    latent = fp.TanhGaussianActor(1, kit.horizon, HIDDEN)
    actor = fp.NoiseSpaceActor(latent, kit.flow, scale=1.5)
    return actor, [
        flow_loss,
        kit.td(actor),
        kit.dpg(actor),
        fp.EntropyLoss(latent, coefficient=0.01),
    ]


def guided(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    options = {"coefficient": 0.1, "temperature": 0.2, "aggregation": kit.aggregation}
    policy = fp.GuidedSampler(kit.flow, kit.critic, **options)
    return policy, [flow_loss, kit.td(policy)]


def distilled_guided(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    teacher, losses = guided(kit, flow_loss)
    actor = fp.OneStepActor(1, kit.horizon, HIDDEN)
    return actor, [*losses, fp.DistillLoss(actor, teacher=teacher)]


def deterministic(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.DeterministicActor(1, kit.horizon, HIDDEN)
    smoothed = fp.NoisyActor(fp.TargetNetwork(actor, tau=0.05), std=0.1, clip=0.3)
    clone_loss = fp.CloneLoss(actor, coefficient=0.3)
    return actor, [flow_loss, kit.td(smoothed), kit.dpg(actor), clone_loss]


def gaussian_likelihood(kit: Kit, flow_loss: fp.Loss) -> tuple[fp.Actor, list[fp.Loss]]:
    actor = fp.TanhGaussianActor(1, kit.horizon, HIDDEN)
    likelihood = fp.LogLikelihoodLoss(actor, weight=flow_loss.weight, coefficient=0.1)
    policy = fp.BestOf(actor, kit.critic, n=4, aggregation=kit.aggregation)
    return policy, [flow_loss, kit.td(policy), kit.dpg(actor), likelihood]


EXTRACTIONS: dict[str, Extraction] = {
    "clone": clone,
    "best_of": best_of,
    "through_the_flow": through_the_flow,
    "distilled": distilled,
    "best_of_distilled": best_of_distilled,
    "two_bootstraps": two_bootstraps,
    "edited": edited,
    "adjoint_matched": adjoint_matched,
    "best_of_adjoint_matched": best_of_adjoint_matched,
    "differentiated_paths": differentiated_paths,
    "distilled_gaussian": distilled_gaussian,
    "slow_actor": slow_actor,
    "through_its_noise": through_its_noise,
    "guided": guided,
    "distilled_guided": distilled_guided,
    "deterministic": deterministic,
    "gaussian_likelihood": gaussian_likelihood,
}

AGGREGATIONS = {
    "mean": fp.mean_value,
    "min": fp.min_value,
    "pessimistic": fp.Pessimistic(0.5),
}

SAMPLERS = {
    "euler": fp.EulerSampler,
    "midpoint": fp.MidpointSampler,
    "heun": fp.HeunSampler,
    "rk4": fp.RK4Sampler,
}
