"""On what a checkpoint was made: what may change the last bits of a run."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch

from flowpolicy import ranks

PACKAGES = (
    "flowpolicy",
    "torch",
    "torchrl",
    "tensordict",
    "numpy",
    "gymnasium",
    "mujoco",
    "ogbench",
    "safetensors",
)


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Versions of Python and the packages that matter, threads, processes and device.

    Example:
        >>> environment()["packages"]["torch"] == torch.__version__
        True
    """
    device = torch.device(device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES}
        | {"torch": str(torch.__version__)},  # which names its build, as its package may not
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "processes": ranks.count(),
        "device": device.type if gpu is None else gpu,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two environments, as far as both know it.

    Example:
        >>> list(differences({"threads": 1}, environment() | {"threads": 2}))
        ['number of threads (1, now 2)']
    """
    had: dict[str, Any] = before.get("packages", {})
    for what, then, today in (
        ("number of threads", before.get("threads"), now["threads"]),
        ("number of processes", before.get("processes"), now["processes"]),
        ("device", before.get("device"), now["device"]),
        ("version of Python", before.get("python"), now["python"]),
        *((f"version of {name}", had.get(name), now["packages"].get(name)) for name in had),
    ):
        if then is not None and then != today:
            yield f"{what} ({then}, now {today})"


@cache
def package_version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
