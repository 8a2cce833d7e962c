"""Compile an exported policy ahead of time, on the kind of machine that will play it.

    flowpolicy export runs/maze --out policy.pt2
    python examples/compile_policy.py policy.pt2 compiled.pt2 [--rows 1]

Needs PyTorch and a C++ compiler; what it writes needs PyTorch. It prints what one action costs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

# Weights are constants here: Inductor may pack them for products of its own.
PACKED = {"freezing": True, "max_autotune": True, "max_autotune_gemm_backends": "CPP,ATEN"}


def main() -> None:
    """Compile, compare, measure."""
    parser = argparse.ArgumentParser(description="Compile an exported policy ahead of time.")
    parser.add_argument("exported")
    parser.add_argument("compiled", help="the file to write; its name ends in .pt2")
    parser.add_argument("--rows", type=int, default=1, help="observations at a time, fixed")
    args = parser.parse_args()
    torch.set_num_threads(1)

    about = {"policy.json": ""}
    policy = torch.export.load(args.exported, extra_files=about).module()
    facts = json.loads(about["policy.json"])
    kind = getattr(torch, facts["dtype"])
    observation = torch.randn(args.rows, facts["obs_dim"], dtype=kind)
    noise = torch.randn(args.rows, *facts["noise_shape"], dtype=kind)

    with torch.no_grad():
        fixed = torch.export.export(policy, (observation, noise))
        torch._inductor.aoti_compile_and_package(
            fixed, package_path=args.compiled, inductor_configs=PACKED
        )
    compiled = torch._inductor.aoti_load_package(args.compiled)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(observation, noise), policy(observation, noise))
        for name, form in (("exported", policy), ("compiled", compiled)):
            micro = 1e6 * seconds(lambda form=form: form(observation, noise))
            print(f"{name}: {micro:.0f} microseconds for {args.rows} observations, one thread")


def seconds(call: Callable[[], object], turns: int = 20, calls: int = 50) -> float:
    """The least of several turns, for one call."""
    least = float("inf")
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        least = min(least, (time.perf_counter() - start) / calls)
    return least


if __name__ == "__main__":
    main()
