"""Compares the ratios of a run with the committed ones: ``python -m benchmarks.guard``.

Ratios within one run carry over between machines of a kind, times do not, so only ratios count.
After ``python -m benchmarks`` it prints what moved, and fails where something got worse.
``--write`` makes the run the new baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import ratios_of, read

BASELINE = Path(__file__).parent / "baseline.json"


def moved(
    now: Mapping[str, float], before: Mapping[str, float], tolerance: float
) -> dict[str, float]:
    """By what factor each ratio changed, of those that changed by more than ``tolerance``.

    Above 1 is worse: the first variant of a measurement costs more, in units of the other.

    Example:
        >>> moved({"a": 1.3, "b": 1.0, "new": 2.0}, {"a": 1.0, "b": 1.01, "gone": 1.0}, 0.1)
        {'a': 1.3}
    """
    factors = {name: now[name] / before[name] for name in before if name in now}
    limit = 1 + tolerance
    return {name: f for name, f in factors.items() if not 1 / limit <= f <= limit}


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, and say by the exit status whether anything got worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="default: runs/benchmarks/*.json")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=0.15)
    parser.add_argument("--write", action="store_true", help="make this run the baseline")
    args = parser.parse_args(arguments)

    paths = args.runs or sorted(Path("runs/benchmarks").glob("*.json"))
    now = {name: round(value, 3) for name, value in ratios_of(read(paths)).items()}
    if not now:
        print("no run to compare: python -m benchmarks makes one", file=sys.stderr)
        return 2
    if args.write:
        args.baseline.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
        print(f"{args.baseline}: {len(now)} ratios")
        return 0

    if not args.baseline.exists():
        print(f"{args.baseline} is missing: --write makes this run the baseline", file=sys.stderr)
        return 2
    before = json.loads(args.baseline.read_text())
    changes = moved(now, before, args.tolerance)
    for name, factor in sorted(changes.items(), key=lambda each: -each[1]):
        word = "worse" if factor > 1 else "better"
        print(f"{word:<8}{before[name]:>8.3f} -> {now[name]:<8.3f}{factor:>6.2f}x  {name}")
    same = len(now.keys() & before.keys()) - len(changes)
    new, gone = len(now.keys() - before.keys()), len(before.keys() - now.keys())
    print(f"{same} ratios within {args.tolerance:.0%}; {new} new, {gone} not measured")
    return int(any(factor > 1 for factor in changes.values()))


if __name__ == "__main__":
    sys.exit(main())
