"""The sections of ``benchmarks.gpu``: one row of the table for each precision."""

from __future__ import annotations

import gc
import json
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from benchmarks.gpu_check import Reference, errors, flat, reference
from benchmarks.gpu_forms import Problem, autocast, prepared, replayed, seconds_per_call
from benchmarks.problem import BATCH, plain_batch, random_batch, random_dataset
from flowpolicy.agents import CapturedUpdate
from flowpolicy.data import Dataset

JAX_PRECISIONS = {"tf32": "tensorfloat32", "float32": "highest"}


@dataclass(frozen=True)
class Section:
    """Rows of the table.

    Attributes:
        form: of the update.
        limit: seconds that all of them may take.
        seeds: how many learn at once.
        precisions: a row for each.
    """

    form: str
    limit: int
    seeds: int = 1
    precisions: tuple[str, ...] = ("tf32", "float32", "bf16")


def run_section(name: str, section: Section, problem: Problem, path: Path) -> None:
    """Append each row to ``path`` when it is known."""
    torch.set_num_threads(1)
    rows = (jax_rows if section.form == "jax" else torch_rows)(problem, section)
    about = {"section": name, "form": section.form, "seeds": section.seeds}
    for row in rows:
        with path.open("a") as file:
            file.write(json.dumps({**about, **row}) + "\n")


def torch_rows(problem: Problem, section: Section) -> Iterator[dict[str, Any]]:
    """One row for each precision."""
    form, seeds = section.form, section.seeds
    dataset = random_dataset(problem.rows).to(problem.device)
    expected = reference(problem.agents(1)[0])
    for precision in section.precisions:
        row = {"precision": precision}
        try:
            row |= torch_row(
                problem, form, seeds, precision=precision, dataset=dataset, expected=expected
            )
        except Exception as error:  # noqa: BLE001  (a row that fails must not lose the others)
            traceback.print_exc()  # a capture that fails hides its cause behind another error
            row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        yield row


def torch_row(
    problem: Problem,
    form: str,
    seeds: int,
    *,
    precision: str,
    dataset: Dataset,
    expected: Reference,
) -> dict[str, Any]:
    """Checked, then timed with sampling from a data set on the device."""
    started = time.perf_counter()
    on_gpu = problem.device.type == "cuda"
    if on_gpu:
        gc.collect()  # agents of the row before know themselves in circles
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    agents, learner = prepared(problem, form, seeds, precision)
    with autocast(problem, precision):
        if form.endswith("graph"):
            update = replayed(agents, learner, expected.batches(problem.device, seeds)[0])
        else:
            update = learner.update
        off = errors(update, agents[0], expected, problem.device, seeds)
        start_seconds = time.perf_counter() - started

        def next_batch() -> TensorDict:
            batch = dataset.sample(BATCH * seeds)
            return batch if seeds == 1 else batch.reshape(seeds, BATCH)

        updates = problem.updates_per_replay if form.endswith("graph") else 1
        call = (
            CapturedUpdate(learner, next_batch, updates=updates)
            if form.endswith("graph")
            else lambda: learner.update(next_batch())
        )
        before = flat(agents[0])
        seconds = [each / updates for each in seconds_per_call(call, problem)]
        if any(int(agent.guard.skipped) for agent in agents) or flat(agents[0]).equal(before):
            raise RuntimeError("updates were skipped, or moved nothing, while they were timed")
        return {
            **off,
            "start_seconds": start_seconds,
            "seconds": seconds,
            "memory": torch.cuda.max_memory_allocated() if on_gpu else None,
        }


def jax_rows(problem: Problem, section: Section) -> Iterator[dict[str, Any]]:
    """The JAX yardstick."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax

        from benchmarks.yardsticks import jax_fql

        jax.devices(problem.device.type)
    except (ImportError, RuntimeError) as error:
        yield {"skipped": f"JAX finds no {problem.device.type}: {error}".splitlines()[0]}
        return
    arrays = {name: value.numpy() for name, value in plain_batch(random_batch()).items()}
    for precision in section.precisions:
        started = time.perf_counter()
        with jax.default_matmul_precision(JAX_PRECISIONS[precision]):
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
