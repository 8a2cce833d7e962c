"""Data sets and environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from flowpolicy.data.locate import EMBEDDED, OGBENCH_ROOT, ROOT_VARIABLE
from flowpolicy.doctor.finding import Finding

SHOWN = 8


def data_sets() -> Iterator[Finding]:
    """The folders that data sets are looked for in, and those that are there."""
    chosen = os.environ.get(ROOT_VARIABLE)
    if chosen and not Path(chosen).expanduser().is_dir():
        yield Finding(
            "warning",
            "data",
            f"{ROOT_VARIABLE}={chosen} is no folder; a download would make it",
            "correct it, if data sets should be there",
        )
    folders = [Path(chosen).expanduser()] if chosen else []
    for folder in dict.fromkeys([*folders, OGBENCH_ROOT.expanduser(), EMBEDDED]):
        found = sorted(p for p in folder.glob("*.npz") if not p.stem.endswith("-val"))
        if not found:
            continue
        names = [f"{p.stem} ({p.stat().st_size / 1e6:.0f} MB)" for p in found[:SHOWN]]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        place = "with the package" if folder == EMBEDDED else f"in {folder}"
        yield Finding("ok", "data", f"{place}: {', '.join(names)}{more}")
    if not chosen:
        yield Finding("ok", "data", f"{ROOT_VARIABLE} is not set; downloads go to {OGBENCH_ROOT}")


def variables(environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Environment variables that change what happens.

    Args:
        environment: those of the process where ``None``.
    """
    environment = os.environ if environment is None else environment
    threads = environment.get("OMP_NUM_THREADS")
    if threads is not None and not threads.isdecimal():
        yield Finding(
            "warning", "OMP_NUM_THREADS", f"{threads!r} is no number", "set it to 1, for instance"
        )
    elif threads is not None:
        yield Finding("ok", "OMP_NUM_THREADS", threads)
    if "TORCHELASTIC_RUN_ID" in environment or "TORCHELASTIC_USE_AGENT_STORE" in environment:
        name = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
        if environment.get(name) == "1":
            yield Finding("ok", name, "1; torchrun can restart")
        else:
            yield Finding(
                "warning",
                name,
                "not set under torchrun: after a worker has died, restarts reuse the old store and "
                "fail with 'connection refused'",
                f"start torchrun with {name}=1",
            )
    if environment.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0") not in ("0", ""):
        yield Finding(
            "warning",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
            "set: torch.load of other programs runs code from the files that it reads",
            "unset it; flowpolicy itself reads no such file",
        )
