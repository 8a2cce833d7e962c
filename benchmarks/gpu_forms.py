"""The forms of an update that ``benchmarks.gpu`` measures, and its clock."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from tensordict import TensorDictBase

import flowpolicy as fp
from benchmarks.problem import agent_of

Learner = fp.Agent | fp.AgentStack

COMPILED: dict[str, dict[str, Any]] = {  # forms of updates, and how they are compiled
    "compiled": {},
    "compiled graph": {},
    "combined graph": {"options": {"combo_kernels": True}},
    "autotuned graph": {"mode": "max-autotune-no-cudagraphs"},
    "reduce-overhead": {"mode": "reduce-overhead"},
}


@dataclass(frozen=True)
class Problem:
    """What is run, and where."""

    device: torch.device
    hidden: tuple[int, ...]
    rows: int
    chunk_seconds: float
    chunks: int
    updates_per_replay: int
    backend: str

    def agents(self, seeds: int) -> list[fp.Agent]:
        """Agents of the seeds from 0 on."""
        return [agent_of("fql", self.hidden, seed=seed) for seed in range(seeds)]


def autocast(problem: Problem, precision: str) -> torch.autocast:
    """Where updates of this precision run; without the cache, which would keep old weights."""
    return torch.autocast(
        problem.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
    )


def prepared(
    problem: Problem, form: str, seeds: int, precision: str
) -> tuple[list[fp.Agent], Learner]:
    """The agents, and what updates all of them, compiled where the form says so."""
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    agents = [agent.to(problem.device) for agent in problem.agents(seeds)]
    program = agents[0] if seeds == 1 else fp.AgentStack(agents)
    if form in COMPILED:
        options = COMPILED[form] if problem.backend == "inductor" else {}
        program.compile(problem.backend, **options)
    return agents, program


def replayed(
    agents: list[fp.Agent], learner: Learner, like: TensorDictBase
) -> Callable[[TensorDictBase], TensorDictBase]:
    """Updates by replays of a graph, from where the agents stand.

    Args:
        agents: all that learn.
        learner: what updates them.
        like: a batch.
    """
    start = [copy.deepcopy(agent.state_dict()) for agent in agents]
    given = like.clone()
    capture = fp.CapturedUpdate(learner, lambda: given)
    capture()  # makes updates, records one, and replays it
    for agent, state in zip(agents, start, strict=True):
        agent.load_state_dict(state)
    optimizers = [agent.optimizer for agent in agents]
    if isinstance(learner, fp.AgentStack):
        optimizers.append(learner.optimizer.whole)
    for state in (state for each in optimizers for state in each.state.values()):
        for value in state.values():
            value.zero_()

    def update(batch: TensorDictBase) -> TensorDictBase:
        given.update_(batch)
        return capture()

    return update


def seconds_per_call(call: Callable[[], object], problem: Problem) -> list[float]:
    """Of several chunks: events around each on a GPU, one synchronisation at its end."""
    for _ in range(3):
        call()
    chunk = partial(_chunk_on_gpu if problem.device.type == "cuda" else _chunk_on_cpu, call)
    repeats = max(1, int(problem.chunk_seconds / max(chunk(2), 1e-9)))
    return [chunk(repeats) for _ in range(problem.chunks)]


def _chunk_on_gpu(call: Callable[[], object], repeats: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def _chunk_on_cpu(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
