"""What ``benchmarks.gpu`` runs: the forms of an update, their check against float64, their time."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

import flowpolicy as fp
from benchmarks.problem import BATCH, agent_of, plain_batch, random_batch, random_dataset

PRECISIONS = ("tf32", "float32", "bf16")
CHECKED_UPDATES = 3
COMPILED = {
    "compiled": {},
    "compiled graph": {},
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


def torch_rows(problem: Problem, form: str, seeds: int) -> Iterator[dict[str, Any]]:
    """One row for each precision."""
    if form.endswith("graph") and problem.device.type != "cuda":
        yield {"skipped": "a CUDA graph needs a GPU"}
        return
    dataset = random_dataset(problem.rows).to(problem.device)
    expected = reference(problem.agents(1)[0])

    def sampled() -> TensorDict:
        batch = dataset.sample(BATCH * seeds)
        return batch if seeds == 1 else batch.reshape(seeds, BATCH)

    for precision in PRECISIONS:
        started, row = time.perf_counter(), {"precision": precision}
        try:
            with precision_of(precision, problem.device):
                agent, update = prepared(problem, form, seeds)
                row |= errors(update, agent, expected, problem.device, seeds)
                row["start_seconds"] = time.perf_counter() - started
                call, updates = partial(_update_on, update, sampled), 1
                if form.endswith("graph"):
                    updates = problem.updates_per_replay
                    program = getattr(update, "__self__", agent)
                    call = captured(getattr(program, "agents", [agent]), call, updates)
                chunks = [s / updates for s in seconds_per_call(call, problem)]
                row |= {"seconds": chunks, "memory": _peak(problem.device)}
        except Exception as error:  # noqa: BLE001  (a row that fails must not lose the others)
            row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        yield row


def _update_on(update: Callable[[TensorDict], object], sampled: Callable[[], TensorDict]) -> object:
    return update(sampled())


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else None


def jax_rows(problem: Problem) -> Iterator[dict[str, Any]]:
    """The JAX yardstick, in float32 and with TF32."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax

        from benchmarks.yardsticks import jax_fql

        jax.devices(problem.device.type)
    except (ImportError, RuntimeError) as error:
        yield {"skipped": f"JAX finds no {problem.device.type}: {error}".splitlines()[0]}
        return
    arrays = {name: value.numpy() for name, value in plain_batch(random_batch()).items()}
    for precision, products in (("tf32", "tensorfloat32"), ("float32", "highest")):
        started = time.perf_counter()
        with jax.default_matmul_precision(products):
            updater = jax_fql.Updater(arrays, problem.hidden, device=problem.device.type)
            updater()
            row = {"precision": precision, "start_seconds": time.perf_counter() - started}
            yield row | {"seconds": jax_seconds(updater, problem)}


def jax_seconds(updater: Any, problem: Problem) -> list[float]:
    """Of several chunks; updates are queued and only the last of a chunk is waited for."""

    def chunk(repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats - 1):
            updater.enqueue()
        updater()
        return (time.perf_counter() - start) / repeats

    chunk(3)
    repeats = max(1, int(problem.chunk_seconds / chunk(3)))
    return [chunk(repeats) for _ in range(problem.chunks)]


def run_section(name: str, form: str, seeds: int, problem: Problem, path: Path) -> None:
    """Append each row to ``path`` when it is known."""
    torch.set_num_threads(1)
    rows = jax_rows(problem) if form == "jax" else torch_rows(problem, form, seeds)
    for row in rows:
        with path.open("a") as file:
            file.write(json.dumps({"section": name, "form": form, "seeds": seeds, **row}) + "\n")


def with_draws(agent: fp.Agent, batch: TensorDict) -> TensorDict:
    """The batch with all noise in it."""
    for loss in agent.loss.losses:
        batch = agent.noise.fill(batch, loss.draws(), loss.tensor_keys)
    return batch


def doubled(batch: TensorDict) -> TensorDict:
    """Floating-point entries in float64."""
    return batch.apply(lambda value: value.double() if value.is_floating_point() else value)


def reference(agent: fp.Agent) -> tuple[list[TensorDict], list[dict[str, float]], torch.Tensor]:
    """Batches with draws, and what they do to ``agent`` in float64 on the CPU."""
    agent = copy.deepcopy(agent).cpu().double()
    torch.manual_seed(1)
    batches = [with_draws(agent, doubled(random_batch())) for _ in range(CHECKED_UPDATES)]
    losses = [{k: v.item() for k, v in agent.update(batch).items()} for batch in batches]
    return batches, losses, flat(agent)


def flat(agent: fp.Agent) -> torch.Tensor:
    """All trained parameters in one vector, in float64 on the CPU."""
    return torch.cat([p.detach().double().cpu().flatten() for _, p in agent.trained_parameters()])


def errors(
    update: Callable[[TensorDict], TensorDict],
    agent: fp.Agent,
    expected: tuple[list[TensorDict], list[dict[str, float]], torch.Tensor],
    device: torch.device,
    seeds: int,
) -> dict[str, float]:
    """Largest relative error of a loss, and of the way that the parameters went."""
    batches, losses, after = expected
    before = flat(agent)
    loss_error = 0.0
    for batch, theirs in zip(batches, losses, strict=True):
        single = batch.apply(lambda v: v.float() if v.is_floating_point() else v).to(device)
        ours = update(single if seeds == 1 else torch.stack([single] * seeds))
        for key, value in theirs.items():
            got = ours[key] if seeds == 1 else ours[key][0]
            if key.startswith("loss"):
                loss_error = max(loss_error, abs(got.item() - value) / abs(value))
    way = (after - before).norm()
    return {
        "loss_error": loss_error,
        "step_error": float((flat(agent) - after).norm() / way),
    }


# --- forms ----------------------------------------------------------------------------------------


def precision_of(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """Switches TF32 on or off, and gives the context of bf16."""
    torch.set_float32_matmul_precision("highest" if name == "float32" else "high")
    return torch.autocast(device.type, torch.bfloat16) if name == "bf16" else nullcontext()


def prepared(
    problem: Problem, form: str, seeds: int
) -> tuple[fp.Agent, Callable[[TensorDict], TensorDict]]:
    """The first agent, and the update of all of them, compiled where the form says so."""
    agents = [agent.to(problem.device) for agent in problem.agents(seeds)]
    program = agents[0] if seeds == 1 else fp.AgentStack(agents)
    if form in COMPILED:
        program.compile(
            problem.backend, **(COMPILED[form] if problem.backend == "inductor" else {})
        )
    return agents[0], program.update


def captured(
    agents: list[fp.Agent], update: Callable[[], object], updates: int
) -> Callable[[], object]:
    """A CUDA graph of ``updates`` whole updates: sampling, noise, losses, targets and Adam."""
    graph = torch.cuda.CUDAGraph()
    for agent in agents:
        graph.register_generator_state(agent.noise.generator(next(agent.parameters()).device))
        for group in agent.optimizer.param_groups:
            group["capturable"] = True
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        for _ in range(updates):
            update()
    return graph.replay


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
