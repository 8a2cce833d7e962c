"""Measures everything and prints the tables: ``python -m benchmarks``.

README.md has the protocol.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks.plot import plot_scaling
from benchmarks.report import read, tables

FOLDER = Path(__file__).parent
MODULES = [
    "update", "seeds", "memory", "precision", "losses", "sampling", "acting", "evaluation",
    "import", "scaling", "obstacles",
]  # fmt: skip

# What more threads concern.
WITH_MORE_THREADS = ("update", "seeds")

# What is measured unless everything is: FQL at every size, the other recipes at two.
FQL = "[fql- and not 128x3"
SOME = "[fql- or not (128x3 or 512x4)"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures everything and prints the tables. Further options are pytest's and "
        "those of benchmarks/conftest.py: -k fql, --compile fql gfp, --quick.",
    )
    parser.add_argument("--only", nargs="+", choices=MODULES, default=MODULES)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument(
        "--full", action="store_true", help="every recipe compiled, at every size: hours"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    args, further = parser.parse_known_args()

    args.out.mkdir(parents=True, exist_ok=True)
    for old in args.out.glob("threads*.json"):
        old.unlink()
    failed = 0
    for n in args.threads:
        one = n == min(args.threads)
        updates = ["--compile", "all"] if args.full else ["-k", SOME if one else FQL]
        with TemporaryDirectory() as cache:  # cold, and of this number of threads
            for module in args.only:
                if one or module in WITH_MORE_THREADS:
                    selected = updates if module == "update" else []
                    failed |= _measure(module, n, args.out, cache, [*selected, *further])
                    write_tables(args.out)
    print((args.out / "tables.md").read_text())
    return failed


def write_tables(out: Path) -> None:
    """All that is measured by now: ``tables.md``, and ``scaling.png``."""
    measurements = read(sorted(out.glob("threads*.json")))
    (out / "tables.md").write_text("\n".join([header(), *tables(measurements)]))
    laws = [each for each in measurements if "exponent" in each.facts]
    if laws:
        plot_scaling(laws, out / "scaling.png")


def _measure(module: str, threads: int, out: Path, cache: str, further: list[str]) -> int:
    """A process for each: libraries choose their threads when they are loaded."""
    command = [
        *(sys.executable, "-m", "pytest", str(FOLDER / f"bench_{module}.py")),
        *("-q", "-o", "addopts=", "-p", "no:cacheprovider"),
        *("--disable-warnings", "-W", "default", "-o", "timeout=0", "--benchmark-quiet"),
        *(f"--benchmark-json={out / f'threads{threads}-{module}.json'}", f"--threads={threads}"),
        *further,
    ]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    status = subprocess.run(command, check=False, env=environment).returncode
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def header() -> str:
    """Date, commit, machine and versions."""
    names = ["flowpolicy", "torch", "tensordict", "torchrl", "jax"]
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return (
        f"{now} UTC, commit {commit or 'unknown'}, "
        f"{machine()}, {os.cpu_count()} cores, load at the end {load:.1f}\n"
        f"Python {platform.python_version()}, {versions}\n"
    )


def machine() -> str:
    """The processor, by the name that the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    return name.group(1) if name else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.exit(main())
