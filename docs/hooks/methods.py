"""What the pages of the methods show and nobody writes: who trains whom, and the results here."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "suite-small.csv"
TABLE = re.compile(r"(^## Who trains whom\n\n)((?:\|.*\n)+)", re.MULTILINE)
OPTIONS = re.compile(r"^## Metrics to watch", re.MULTILINE)
COLORS = [f"var(--trains-{i})" for i in range(6)]  # the palette of the plots, in site.css
LEGEND = "An arrow is gradient; a dashed box is moved by averaging alone."
SUITE = "../results/README.md#the-suite-every-offline-method-under-the-same-small-budget"
ROW, WIDTH, LEFT, RIGHT = 34, 520, 190, 330


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adds the diagram below the gradient table, and the results before the metrics."""
    path = Path(page.file.src_uri)
    if path.parent.name != "methods" or path.stem == "README":
        return markdown
    markdown = TABLE.sub(lambda m: f"{m[1]}{diagram(m[2])}\n\n{m[2]}", markdown)
    return OPTIONS.sub(lambda m: f"{results(path.stem)}{m[0]}", markdown)


def diagram(table: str) -> str:
    """Arrows from each loss to the network that it trains, read off the page's own table."""
    head, _, *rows = [
        [cell.strip().strip("`") for cell in line[1:-1].split("|")] for line in table.splitlines()
    ]
    networks = head[1:]
    height = ROW * max(len(rows), len(networks)) + 12
    left = [height * (i + 0.5) / len(rows) for i in range(len(rows))]
    right = [height * (i + 0.5) / len(networks) for i in range(len(networks))]
    shapes = []
    for j, (name, y) in enumerate(zip(networks, right, strict=True)):
        trained = any(row[j + 1] for row in rows)
        dashes = "" if trained else ' stroke-dasharray="4 3"'
        stroke = COLORS[j % len(COLORS)] if trained else "currentColor"
        shapes.append(
            f'<rect x="{RIGHT}" y="{y - 13}" width="{WIDTH - RIGHT - 2}" height="26" rx="5" '
            f'fill="none" stroke="{stroke}" stroke-width="2"{dashes}/>'
            f'<text x="{(RIGHT + WIDTH) / 2}" y="{y + 4.5}" text-anchor="middle">{name}</text>'
        )
    for row, y in zip(rows, left, strict=True):
        shapes.append(f'<text x="{LEFT - 8}" y="{y + 4.5}" text-anchor="end">{row[0]}</text>')
        for j, cell in enumerate(row[1:]):
            if cell:
                color, end, middle = COLORS[j % len(COLORS)], right[j], (LEFT + RIGHT) / 2
                shapes.append(
                    f'<path d="M{LEFT},{y} C{middle},{y} {middle},{end} {RIGHT - 9},{end}" '
                    f'fill="none" stroke="{color}" stroke-width="2.4"/>'
                    f'<path d="M{RIGHT - 10},{end - 5} l9,5 l-9,5 z" fill="{color}"/>'
                )
    named = ", ".join(f"{row[0]} trains {_trained(row, networks)}" for row in rows)
    svg = (
        f'<svg class="trains" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{named}">'
        f"{''.join(shapes)}</svg>"
    )
    return f'<div markdown="0">{svg}</div>\n\n{LEGEND}'


def _trained(row: list[str], networks: list[str]) -> str:
    return " and ".join(name for name, cell in zip(networks, row[1:], strict=True) if cell)


def results(method: str) -> str:
    """The rows of the suite that are this method's; nothing where it has none."""
    with RESULTS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == method]
    if not rows:
        return ""
    lines = []
    for row in rows:
        seeds = row["values"].replace(" ", ", ")
        interval = f"{float(row['episodes_low']):.0f} to {float(row['episodes_high']):.0f}"
        mean = f"{float(row['mean']):.0f}"
        lines.append(f"| `{row['env']}` | {mean} | {seeds} | {interval} | {row['updates']} |")
    return (
        "## Results here\n\n"
        f"Success in per cent after the small budget of [the suite]({SUITE}), which is far below "
        "the papers' and says how the code runs, not how good the method is. The interval is "
        "Wilson's, of 95 %, over the episodes of all seeds together.\n\n"
        "| environment | mean | single seeds | interval | updates |\n|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n\n"
    )
