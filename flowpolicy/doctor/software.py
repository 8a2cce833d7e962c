"""What is installed, against what flowpolicy is tested with."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator

from flowpolicy.doctor.finding import Finding

TESTED = {
    "torch": "2.13.0",
    "torchrl": "0.14.1",
    "tensordict": "0.14.3",
    "numpy": "2.4.6",
    "safetensors": "0.8.0",
    "einops": "0.8.2",
    "gymnasium": "1.4.0",
    "mujoco": "4.0.0",
    "ogbench": "1.2.2",
    "tyro": "1.0.17",
    "matplotlib": "3.11.2",
    "jax": "0.10.2",
}
"""Versions that the tests run with, those of ``constraints.txt``."""

OPTIONAL = {
    "gymnasium": ("ogbench", "environments"),
    "mujoco": ("ogbench", "environments"),
    "ogbench": ("ogbench", "data sets and environments"),
    "tyro": ("cli", "the command line"),
    "matplotlib": ("cli", "pictures and training"),
    "jax": ("", ""),
}
"""What one can do without: the extra that has it and what it is needed for. Nobody misses jax."""

BUILT_TOGETHER = ("torch", "torchrl", "tensordict")
"""Their compiled parts fit one minor version of each other."""


def python_version() -> Iterator[Finding]:
    """The interpreter."""
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")


def versions() -> Iterator[Finding]:
    """Every package that matters."""
    for name, tested in TESTED.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            extra, purpose = OPTIONAL.get(name, ("", ""))
            if name not in OPTIONAL:
                yield Finding("error", name, "not installed", f"pip install {name}=={tested}")
            elif extra:
                told = f"not installed; it is needed for {purpose}"
                yield Finding("note", name, told, f"pip install 'flowpolicy[{extra}]'")
            continue
        yield compared(name, found, tested)


def compared(name: str, found: str, tested: str) -> Finding:
    """One version against the tested one.

    Example:
        >>> compared("numpy", "2.4.6", "2.4.6").level, compared("torch", "2.14.0", "2.13.0").level
        ('ok', 'warning')
    """
    if found.partition("+")[0] == tested:
        return Finding("ok", name, found)
    told = f"{found}; tested is {tested}"
    if name in BUILT_TOGETHER and found.split(".")[:2] != tested.split(".")[:2]:
        return Finding(
            "warning",
            name,
            f"{told}. The compiled parts of {', '.join(BUILT_TOGETHER)} fit one minor version of "
            "each other",
            f"pip install {name}=={tested}",
        )
    return Finding("note", name, told, "if something fails, try the tested one first")


def torchrl_extension() -> Iterator[Finding]:
    """TorchRL's compiled part, which prioritised replay needs."""
    from torchrl.data import PrioritizedSampler

    try:
        PrioritizedSampler(max_capacity=4, alpha=0.7, beta=0.9)
    except Exception as error:  # noqa: BLE001  (a library that does not fit fails in its own ways)
        reason = " ".join(str(error).split()).removesuffix(" See warning above.")  # none is shown
        yield Finding(
            "note",
            "torchrl extension",
            f"does not load ({type(error).__name__}: {reason[:120]}); "
            "prioritised replay is not available, all else works",
            "none is needed; where it is, build torchrl against this torch",
        )
    else:
        yield Finding("ok", "torchrl extension", "loads; prioritised replay is available")


def compiler() -> Iterator[Finding]:
    """The C++ compiler that ``torch.compile`` calls on the CPU: ``$CXX``, or one by default."""
    named, default = os.environ.get("CXX"), "clang++" if sys.platform == "darwin" else "g++"
    wanted = default if named is None else named
    if found := shutil.which(wanted):
        yield Finding("ok", "compiler", f"{found}; torch.compile can build for the CPU")
        return
    lacking = f"no {wanted}" if named is None else f"CXX names {wanted!r}, which is not there"
    other = next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    install = "install g++, for instance apt-get install g++"
    yield Finding(
        "note" if named is None else "warning",
        "compiler",
        f"{lacking}: runs of 20,000 updates and more are not compiled on the CPU, and slower",
        f"set CXX={other}, which is here" if other else install,
    )
