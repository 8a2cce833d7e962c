"""The picture of what ``bench_scaling`` measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Measurement


def plot_scaling(measurements: Sequence[Measurement], path: Path) -> None:
    """One panel for each size that was varied: the turns' least, and the power law through them."""
    from matplotlib.figure import Figure

    columns = min(3, len(measurements))
    rows = -(-len(measurements) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[len(measurements) :]:
        unused.set_visible(False)
    for each, axes in zip(measurements, panels, strict=False):
        x = [float(name) for name in each.values]
        law = [each.facts["constant"] * point ** each.facts["exponent"] for point in x]
        axes.loglog(x, [1e3 * each.least(name) for name in each.values], "o")
        axes.loglog(x, [1e3 * point for point in law], "-", linewidth=1)
        axes.minorticks_off()
        axes.set_xticks(x, labels=list(each.values))
        ends = [1e3 * min(law), 1e3 * max(law)]
        axes.set_yticks(ends, labels=[f"{value:.3g}" for value in ends])
        axes.set(xlabel=each.facts["axis"], ylabel="ms per update")
        axes.set_title(f"exponent {each.facts['exponent']:.2f}", fontsize="medium")
    figure.savefig(path, dpi=120)
