"""FQL on a GPU, everything in one command of under 8 minutes: ``python -m benchmarks.gpu``.

Eager, compiled, with CUDA graphs by Inductor, and the whole update captured, compiled with joined
kernels and with tuned products, too; one seed and sixteen; in float32, TF32 and bf16; beside the
JAX yardstick where JAX finds the GPU. Every form of ours, replays too, is first held against the
same updates in float64 on the CPU; the yardstick is held against a recorded update by the tests.

Each section is a process with a time limit of its own and each row is on disk once it is measured,
so that nothing later can lose it: ``results.md`` and ``results.json`` in ``--out``. Without a GPU,
``--device cpu --quick`` runs the program's logic on small networks; the updates of a graph are
then made one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.gpu_forms import Problem
from benchmarks.gpu_sections import Section, run_section
from benchmarks.gpu_table import about, table

BUDGET = 470
"""Seconds that all sections may take."""

SECTIONS = {  # what the targets ask about first; the last ones may find no time left
    "graph": Section("graph", limit=30, precisions=("tf32",)),
    "compiled graph": Section("compiled graph", limit=90, precisions=("tf32", "bf16")),
    "compiled graph, 16 seeds": Section(
        "compiled graph", seeds=16, limit=110, precisions=("tf32", "bf16")
    ),
    "jax": Section("jax", limit=60, precisions=("tf32", "float32")),
    "combined graph": Section("combined graph", limit=90, precisions=("tf32",)),
    "combined graph, 16 seeds": Section(
        "combined graph", seeds=16, limit=110, precisions=("tf32",)
    ),
    "autotuned graph": Section("autotuned graph", limit=120, precisions=("tf32",)),
    "compiled": Section("compiled", limit=85),
    "eager": Section("eager", limit=35),
    "eager, 16 seeds": Section("eager", seeds=16, limit=30, precisions=("tf32",)),
    "reduce-overhead": Section("reduce-overhead", limit=45, precisions=("tf32",)),
}


def measure(arguments: list[str], names: list[str], out: Path) -> None:
    """Every section in a process of its own, and the table after each."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.jsonl"
    path.unlink(missing_ok=True)
    with TemporaryDirectory() as cache:  # the sections share what they compile
        environment = {"TORCHINDUCTOR_CACHE_DIR": cache, **os.environ}
        _measure(arguments, names, out, environment)
    print((out / "results.md").read_text())


def _measure(
    arguments: list[str], names: list[str], out: Path, environment: Mapping[str, str]
) -> None:
    path = out / "rows.jsonl"
    begun = time.monotonic()
    for name in names:
        command = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--section", name]
        left = BUDGET - (time.monotonic() - begun)
        limit = min(SECTIONS[name].limit, max(left, 0.0))
        try:
            subprocess.run(command, check=True, timeout=limit, env=environment)
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
        except subprocess.CalledProcessError as error:
            ended = f"ended with status {error.returncode}"
        else:
            ended = ""
        if ended:
            with path.open("a") as file:
                file.write(json.dumps({"section": name, "failed": ended}) + "\n")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        (out / "results.json").write_text(json.dumps({"about": about(), "rows": rows}, indent=1))
        (out / "results.md").write_text(table(rows))


def main() -> None:
    """Measure all, or be one of the sections."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small networks, two short chunks")
    parser.add_argument("--backend", default="inductor", help="of agent.compile")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU here; --device cpu --quick runs the program's logic")
    if args.section is None:
        chosen = [f"--device={args.device}", f"--backend={args.backend}", f"--out={args.out}"]
        measure([*chosen, *(["--quick"] if args.quick else [])], args.only, args.out)
        return
    problem = Problem(
        device=torch.device(args.device),
        hidden=(32,) * 2 if args.quick else (512,) * 4,
        rows=10_000 if args.quick else 1_000_000,
        chunk_seconds=0.02 if args.quick else 0.5,
        chunks=2 if args.quick else 5,
        updates_per_replay=2 if args.quick else 10,
        backend=args.backend,
    )
    run_section(args.section, SECTIONS[args.section], problem, args.out / "rows.jsonl")


if __name__ == "__main__":
    main()
