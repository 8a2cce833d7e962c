"""The table that ``benchmarks.gpu`` writes."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.report import amount


def about() -> dict[str, str]:
    """Machine and versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "device": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
    }


COLUMNS = [
    "section",
    "precision",
    "updates/s",
    "seed-updates/s",
    "median",
    "loss off by",
    "step off by",
    "to the first updates",
    "memory",
]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, and the targets below them."""
    lines = [", ".join(f"{key} {value}" for key, value in about().items()), ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", *targets(rows)]) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    if "seconds" not in row:
        said = row.get("skipped") or row.get("failed", "")
        return [row["section"], row.get("precision", ""), said, *[""] * (len(COLUMNS) - 3)]
    seconds, seeds = sorted(row["seconds"]), row["seeds"]
    off = [f"{row[key]:.1e}" if key in row else "" for key in ("loss_error", "step_error")]
    return [
        row["section"],
        row["precision"],
        f"{1 / seconds[0]:.0f}",
        f"{seeds / seconds[0]:.0f}",
        amount(seconds[len(seconds) // 2], "s"),
        *off,
        f"{row['start_seconds']:.0f} s",
        amount(row["memory"], "B") if row.get("memory") else "",
    ]


def targets(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the best forms reach, of what they should; TF32 is allowed, bf16 is not."""
    timed = [row for row in rows if "seconds" in row and row["precision"] != "bf16"]
    rates = [(row, row["seeds"] / min(row["seconds"])) for row in timed]
    one = max((r for row, r in rates if row["form"] != "jax" and row["seeds"] == 1), default=None)
    many = max((r for row, r in rates if row["seeds"] > 1), default=None)
    if one:
        yield f"- one seed: {one:.0f} updates per second (2,000 wanted)"
    if many:
        yield f"- 16 seeds: {many:.0f} seed-updates per second (10,000 wanted)"
    if one and many:
        yield f"- 16 seeds as one program: {many / one:.1f} times one seed's rate"
    for precision in ("tf32", "float32"):
        alike = [(row, r) for row, r in rates if (row["precision"], row["seeds"]) == (precision, 1)]
        ours = max((r for row, r in alike if row["form"] != "jax"), default=None)
        jax = max((r for row, r in alike if row["form"] == "jax"), default=None)
        if ours and jax:
            yield f"- beside JAX, {precision}: {ours / jax:.2f} times as fast (1.5 wanted)"
