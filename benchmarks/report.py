"""Reads what pytest-benchmark stored and prints the tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """Variants that were measured in turn.

    Args:
        name: of the measurement and its parameters, ``update[fql-512x4]``.
        threads: of every library.
        values: what one call cost, for each variant and each of its turns; the first variant is
            the one that the others are there to judge.
        targets: for other variants, how many times their cost the first may have.
        facts: whatever else the measurement found out.
    """

    name: str
    threads: int
    values: dict[str, list[float]]
    targets: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The variant that is judged."""
        return next(iter(self.values))

    @property
    def key(self) -> str:
        """Tells it from the other measurements of a run."""
        return f"{self.name}, {self.threads} thread{'s' * (self.threads > 1)}"

    def least(self, variant: str) -> float:
        """The least over the turns: disturbance only ever adds."""
        return min(self.values[variant])

    def ratio(self, other: str) -> float:
        """The cost of the first in units of another."""
        return self.least(self.first) / self.least(other)

    def ratios(self) -> dict[str, float]:
        """All of them, by what is divided by what; of a scaling law the exponent."""
        if "exponent" in self.facts:
            return {f"{self.key}: exponent": self.facts["exponent"]}
        others = list(self.values)[1:]
        return {f"{self.key}: {self.first} / {other}": self.ratio(other) for other in others}


def read(paths: Iterable[Path]) -> list[Measurement]:
    """The measurements in files that pytest-benchmark wrote."""
    measurements = []
    for path in paths:
        # pytest-benchmark makes the file before it measures: one without a result is empty.
        for each in json.loads(path.read_text() or '{"benchmarks": []}')["benchmarks"]:
            facts = dict(each["extra_info"])
            measurements.append(
                Measurement(
                    name=each["name"].removeprefix("test_"),
                    threads=facts.pop("threads"),
                    values=facts.pop("values"),
                    targets=facts.pop("targets"),
                    facts=facts,
                )
            )
    return measurements


def ratios_of(measurements: Iterable[Measurement]) -> dict[str, float]:
    """Every ratio of a run by its name."""
    return {name: value for each in measurements for name, value in each.ratios().items()}


def tables(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Everything as Markdown."""
    updates = [each for each in measurements if each.name.startswith("update[")]
    if updates:
        memory = {each.name: each for each in measurements if each.name.startswith("memory[")}
        yield "## Updates\n\n" + _table(UPDATE_COLUMNS, [_update(e, memory) for e in updates])
    laws = [each for each in measurements if "exponent" in each.facts]
    if laws:
        yield "## Scaling\n\n" + _table(LAW_COLUMNS, [_law(each) for each in laws])
    rest = [each for each in measurements if each not in updates and each not in laws]
    if rest:
        rows = [row for each in rest for row in _rows(each)]
        yield "## Everything else\n\n" + _table(COLUMNS, rows)
    targets = [row for each in measurements for row in _targets(each)]
    if targets:
        yield "## Targets\n\n" + _table(["what", "measured", "at most", ""], targets)


UPDATE_COLUMNS = [
    "update",
    "threads",
    "form",
    "updates/s",
    "share of the products' bound",
    "times eager",
    "times JAX",
    "times plain",
    "peak memory",
    "compiling",
]


def _update(each: Measurement, memory: dict[str, Measurement]) -> list[str]:
    name = each.name.removeprefix("update[").removesuffix("]")
    least = each.least(each.first)
    bound = each.facts["flops"] / each.facts["product_flops"] * each.least("product")
    used = memory.get(f"memory[{name}-{each.first}]")
    seconds = each.facts.get("compile_seconds")
    return [
        name,
        str(each.threads),
        each.first,
        f"{1 / least:.1f}",
        f"{bound / least:.2f}",
        *(_times(each, other) for other in ("eager", "jax", "plain")),
        "" if used is None else amount(used.least(used.first), "B"),
        "" if seconds is None else f"{seconds:.0f} s",
    ]


def _times(each: Measurement, other: str) -> str:
    known = other in each.values and other != each.first
    return f"{1 / each.ratio(other):.2f}" if known else ""


COLUMNS = ["measured", "threads", "variant", "least", "median", "in units of it"]


def _rows(each: Measurement) -> Iterator[list[str]]:
    unit = each.facts.get("unit", "s")
    for variant, values in each.values.items():
        first = variant == each.first
        yield [
            each.name if first else "",
            str(each.threads) if first else "",
            variant,
            amount(min(values), unit),
            amount(median(values), unit),
            "" if first else f"{each.ratio(variant):.2f}",
        ]


LAW_COLUMNS = ["axis", "measured", "law", "off by at most"]


def _law(each: Measurement) -> list[str]:
    axis = each.facts["axis"]
    points = (f"{x}: {amount(each.least(x), 's')}" for x in each.values)
    law = f"{amount(each.facts['constant'], 's')} · {axis}^{each.facts['exponent']:.2f}"
    return [axis, ", ".join(points), law, f"{each.facts['off']:.0%}"]


def _targets(each: Measurement) -> Iterator[list[str]]:
    for other, most in each.targets.items():
        if other in each.values:
            ratio = each.ratio(other)
            name = f"{each.key}: {each.first} / {other}"
            yield [name, f"{ratio:.2f}", f"{most:.2f}", "met" if ratio <= most else "missed"]
    if "best_at_most" in each.facts:
        best, most = min(each.values, key=each.least), each.facts["best_at_most"]
        met = "met" if each.least(best) <= most else "missed"
        yield [f"{each.key}: {best}", amount(each.least(best), "s"), amount(most, "s"), met]


def amount(value: float, unit: str) -> str:
    """A number with three digits or so and a prefix.

    Example:
        >>> amount(0.0123, "s"), amount(4.2e-5, "s"), amount(3.1e8, "B")
        ('12.3 ms', '42 us', '310 MB')
    """
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u")):
        if abs(value) >= factor and not (unit == "s" and factor > 1):
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
