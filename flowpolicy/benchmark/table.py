"""Summaries as tables for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowpolicy.benchmark.summary import Summary
from flowpolicy.durable import replace_durably, replacing
from flowpolicy.train.records import CsvFile


def write_tables(summaries: Sequence[Summary], out: Path, *, title: str) -> None:
    """Writes ``table.md`` and ``table.csv``, both in the order given."""
    lines = [f"# {title}", ""]
    lines.append(
        "Success in per cent (or mean return) of the last evaluation; mean, population standard "
        "deviation and 95 % bootstrap interval over seeds, 95 % Wilson interval over the episodes "
        "of all seeds."
    )
    for env in dict.fromkeys(s.env for s in summaries):
        rows = [s for s in summaries if s.env == env]
        lines += ["", f"## {env}", ""]
        lines.append(
            "| | mean | std | over seeds | over episodes | single seeds | training s | ms/update |"
        )
        lines.append("|---|---|---|---|---|---|---|---|")
        lines += [_row(s) for s in rows]
    # Two sweeps of one folder may end at once.
    replace_durably(out / "table.md", ("\n".join(lines) + "\n").encode())
    with replacing(out / "table.csv") as staging:
        file = CsvFile(staging)
        for s in summaries:
            low, high = s.interval or (None, None)
            pooled_low, pooled_high = s.pooled or (None, None)
            file.append(
                {
                    "env": s.env,
                    "name": s.name,
                    "measure": "success (%)" if s.success else "return",
                    "mean": s.mean,
                    "std": s.std,
                    "seeds_low": low,
                    "seeds_high": high,
                    "episodes_low": pooled_low,
                    "episodes_high": pooled_high,
                    "seeds": " ".join(map(str, s.points)),
                    "values": " ".join(f"{v:g}" for v in s.values),
                    "episodes": sum(p.episodes for p in s.points.values()),
                    "updates": next(iter(s.points.values())).step,
                    "training_seconds": round(s.seconds, 2),
                    "ms_per_update": round(s.milliseconds, 3),
                }
            )


def _row(s: Summary) -> str:
    singles = ", ".join(f"{seed}: {p.value:.0f}" for seed, p in s.points.items())
    return (
        f"| {s.name} | {s.mean:.1f} | {s.std:.1f} | {_interval(s.interval)} | "
        f"{_interval(s.pooled)} | {singles} | {s.seconds:.0f} | {s.milliseconds:.2f} |"
    )


def _interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else "{:.0f} to {:.0f}".format(*ends)
