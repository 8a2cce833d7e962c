"""What two processes do together, and one process alone: each case gives tensors to compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

import flowpolicy as fp
from flowpolicy import ranks
from flowpolicy.data import Dataset
from flowpolicy.data.transforms import chunk, with_next_action
from tests.agents.recipes import VARIANTS, small, small_options
from tests.contracts.factories import Parts, transitions, with_noise
from tests.data.conftest import transitions as recorded

Results = dict[str, Tensor]

ROWS = 8
MASK = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0], dtype=torch.bool).unsqueeze(-1)  # 3 and 1


def batch(seed: int) -> TensorDict:
    """Transitions in float64; noise is for the agent to draw."""
    return transitions(ROWS, seed=seed, dtype=torch.float64)


def learned(agent: fp.Agent, batches: list[TensorDictBase]) -> Results:
    """Updates by plain gradient descent: Adam would magnify the rounding of tiny gradients."""
    agent.optimizer = torch.optim.SGD(list(agent.trained_parameters()), lr=0.01)
    if ranks.count() > 1:
        agent.distribute()
    found: Results = {}
    for i, rows in enumerate(batches):
        metrics = agent.update(rows)
        found |= {f"metrics/{i}/{name}": value for name, value in metrics.items()}
    return found | {f"state/{name}": value.clone() for name, value in agent.state_dict().items()}


def recipe(variant: str, **options: object) -> Results:
    torch.manual_seed(0)
    agent = small(variant, **options).double()
    return learned(agent, [batch(seed) for seed in range(2)])


def one_bad_row() -> Results:
    """What is not finite on one rank is skipped by all."""
    torch.manual_seed(0)
    bad = batch(0)
    bad["next", "reward"][ROWS - 1] = torch.nan
    return learned(small("fql").double(), [bad, batch(1)])


def chunked() -> Results:
    """Rows whose chunk leaves the trajectory do not count."""
    torch.manual_seed(0)
    rows = with_next_action(chunk(Dataset(recorded([7, 6, 9])), horizon=3, discount=0.9))
    agent = fp.agents.build("fql", 2, 1, horizon=3, **small_options("fql")).double()
    generator = torch.Generator().manual_seed(0)
    batches = [rows.sample(16, generator).apply(_double) for _ in range(2)]
    assert not all(each["valid"].all() for each in batches)
    return learned(agent, list(batches))


def _double(entry: Tensor) -> Tensor:
    return entry.double() if entry.is_floating_point() else entry


def compiled(backend: str) -> Results:
    """One of the statistics is then within the graph."""
    torch.manual_seed(0)
    agent = small("fql", flow_steps=1).double().compile(backend=backend)
    return learned(agent, [batch(seed) for seed in range(2)])


def loss_of(kind: str) -> fp.Loss | fp.SumLoss:
    """Losses in which a number of the whole batch enters."""
    p = Parts().double()
    flow = fp.FlowMatchingLoss(
        p.field,
        weight=fp.ValueAwareWeight(p.target, critic=p.critic, reference=p.actor, temperature=0.1),
    )
    dpg = fp.DPGLoss(p.actor, p.critic, scale=fp.inverse_mean_abs)
    distill = fp.DistillLoss(p.actor, p.flow, coefficient=p.coefficient)
    spread = fp.SpreadLoss(distill, share=0.25)
    losses = {
        "one": lambda: fp.DPGLoss(p.actor, p.critic, scale=fp.inverse_mean_abs),
        "several": lambda: fp.SumLoss([flow, dpg, distill, spread], policy=p.actor),
        "masked": lambda: fp.TDLoss(p.critic, p.target, next_actor=p.actor),
        "weighted": lambda: fp.TDLoss(p.critic, p.target, next_actor=p.actor),
        "sum": lambda: fp.TDLoss(p.critic, p.target, next_actor=p.actor, reduction="sum"),
    }
    return losses[kind]()


def own_loop(kind: str, only: tuple[str, ...] | None = None) -> Results:
    """The gradients of a loss in a loop of one's own, on a rank's rows."""
    loss = loss_of(kind)
    rows = with_noise(batch(0), loss.draws())
    if kind == "masked":
        rows["collector", "mask"] = MASK
    if kind == "weighted":
        rows["priority_weight"] = torch.linspace(0.5, 2.0, ROWS, dtype=torch.float64).unsqueeze(-1)
    call = loss
    if ranks.count() > 1:
        call = fp.DistributedLoss(loss, find_unused_parameters=only is not None)
        rows = ranks.own_rows(rows)
    results = call(rows) if only is None else call(rows, only)
    total = sum(value for name, value in results.items() if name.startswith("loss"))
    total.backward()
    named = dict(loss.named_parameters()).items()
    return {name: p.grad for name, p in named if p.grad is not None}


CASES: dict[str, Callable[[], Results]] = {
    **{f"recipe {variant}": partial(recipe, variant) for variant in VARIANTS},
    "recipe td3_bc delayed": partial(recipe, "td3_bc", delay=2),
    "one bad row": one_bad_row,
    "chunks": chunked,
    "own loop, one loss": partial(own_loop, "one"),
    "own loop, several losses": partial(own_loop, "several"),
    "own loop, some of several": partial(own_loop, "several", only=("flow", "distill")),
    "own loop, masked rows": partial(own_loop, "masked"),
    "own loop, weighted rows": partial(own_loop, "weighted"),
    "own loop, sum": partial(own_loop, "sum"),
}

SLOW_CASES: dict[str, Callable[[], Results]] = {
    f"compiled by {backend}": partial(compiled, backend) for backend in ("aot_eager", "inductor")
}
