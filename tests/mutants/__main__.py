"""``python -m tests.mutants [parts of names]``: every mistake of the table must be noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.table import MUTANTS, ROOT, Mutant

COPIED = ("flowpolicy", "tests", "conftest.py", "pyproject.toml")
PASSED, FAILED = 0, 1  # what pytest exits with; all else is no verdict
LIMIT = 600  # seconds


def copy_checkout(folder: Path) -> None:
    """The package and its tests; times too, so that compiled bytecode stays good."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)


def run(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs test files in a copy, against the package in the copy."""
    arguments = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "-m", "not slow and not compile", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def verdict(mutant: Mutant, folder: Path) -> str:
    """Puts the mistake into the copy, runs the test, and takes it out again."""
    target = mutant.source(folder)
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.mutated(folder), encoding="utf-8")
    try:
        result = run(folder, [mutant.test])
    finally:
        target.write_text(original, encoding="utf-8")
    if result.returncode == FAILED:
        return "killed"
    return "SURVIVED" if result.returncode == PASSED else f"BROKEN\n{result.stdout[-2000:]}"


def main(parts: Sequence[str]) -> int:
    """1 where a mistake was not noticed, of those whose names have one of the parts, or of all."""
    chosen = [each for each in MUTANTS if any(part in each.name for part in parts or [""])]
    width = max(len(each.name) for each in chosen)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        copy_checkout(folder)
        tests = sorted({each.test for each in chosen})
        unharmed = run(folder, tests)
        if unharmed.returncode != PASSED:
            print(f"without any mistake the tests fail already:\n{unharmed.stdout[-4000:]}")
            return 1
        print(f"without any mistake: {unharmed.stdout.strip().splitlines()[-1]}", flush=True)
        alive = 0
        for each in chosen:
            found = verdict(each, folder)
            alive += found != "killed"
            print(f"{each.name:<{width}}  {each.file:<35}  {found}", flush=True)
    minutes = (time.perf_counter() - started) / 60
    print(f"{len(chosen) - alive} of {len(chosen)} killed in {minutes:.1f} minutes")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
