"""Parts combine freely: dozens of agents that no paper has, each trained on a known optimum.

Every weight meets every way to extract a policy; chunks of one step and of five, the critics'
aggregations and the samplers take turns. Behaviour cloning earns what the data do, here about half;
whatever asks the critics has to come a good part of the way from there to the optimum.
"""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

import flowpolicy as fp
from tests.hybrids.parts import AGGREGATIONS, EXTRACTIONS, SAMPLERS, WEIGHTS, Kit
from tests.hybrids.problem import BEHAVIOR, OPTIMUM, data, score, trained

UPDATES = 200


def turn(choices: dict[str, object], number: int) -> str:
    return list(choices)[number % len(choices)]


CASES = [
    pytest.param(
        weight,
        extraction,
        (1, 5)[(i + j) % 2],
        turn(AGGREGATIONS, i + j),
        turn(SAMPLERS, 2 * i + j),
        id=f"{weight}-{extraction}",
    )
    for i, weight in enumerate(WEIGHTS)
    for j, extraction in enumerate(EXTRACTIONS)
]
PUBLISHED = {
    ("unweighted", "clone"),
    ("unweighted", "best_of"),
    ("unweighted", "through_the_flow"),
    ("unweighted", "distilled"),
    ("unweighted", "edited"),
    ("unweighted", "adjoint_matched"),
    ("unweighted", "differentiated_paths"),
    ("value_aware", "distilled"),
    ("advantage", "clone"),
}
"""Pairs of which some combination is somebody's method."""


def build(weight: str, extraction: str, kit: Kit) -> fp.Agent:
    g, of_weight = WEIGHTS[weight](kit)
    policy, losses = EXTRACTIONS[extraction](kit, fp.FlowMatchingLoss(kit.field, weight=g))
    return fp.Agent(
        policy=policy,
        losses=[*losses, *of_weight],
        optimizer=lambda named: torch.optim.Adam(named, lr=3e-3, fused=True),
        networks={"clone": kit.field},
        actors={"flow": kit.flow},
    )


def test_more_than_thirty_are_nobodys() -> None:
    assert sum(tuple(case.values[:2]) not in PUBLISHED for case in CASES) > 30
    for position, choices in ((2, (1, 5)), (3, AGGREGATIONS), (4, SAMPLERS)):
        assert {case.values[position] for case in CASES} == set(choices)


@pytest.mark.parametrize(("weight", "extraction", "horizon", "aggregation", "sampler"), CASES)
def test_a_hybrid_learns(weight, extraction, horizon, aggregation, sampler) -> None:
    torch.manual_seed(0)
    kit = Kit(horizon, AGGREGATIONS[aggregation], SAMPLERS[sampler])
    agent = build(weight, extraction, kit)
    dataset = data(horizon)
    who_trains_whom(agent, dataset.sample(16, torch.Generator().manual_seed(1)))

    history = trained(agent, dataset, UPDATES)

    assert all(value.isfinite() for metrics in history for value in metrics.values())
    improvement = (score(agent.policy) - BEHAVIOR) / (OPTIMUM - BEHAVIOR)
    if (weight, extraction) == ("unweighted", "clone"):
        assert improvement < 0.5  # it can only do as the data do
    else:
        assert improvement > 0.4


def who_trains_whom(agent: fp.Agent, batch: TensorDict) -> None:
    """Each loss reaches the network that it is named for and no other."""
    batch = agent.with_noise(batch)
    out = agent.loss(batch)
    for loss in agent.loss.losses:
        own = {id(p) for p in loss.network.parameters()}
        gradients = torch.autograd.grad(
            out[f"loss_{loss.name}"],
            parameters := list(agent.networks.parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        reached = {
            id(p) for p, g in zip(parameters, gradients, strict=True) if g is not None and g.any()
        }
        assert reached
        assert reached <= own, loss.name
    for target in agent.targets.values():
        assert not any(p.requires_grad for p in target.parameters())
