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
    for each, axes in zip(measurements, figure.subplots(rows, columns, squeeze=False).flat):  # noqa: B905
        x = [float(name) for name in each.values]
        law = [each.facts["constant"] * point ** each.facts["exponent"] for point in x]
        axes.loglog(x, [1e3 * each.least(name) for name in each.values], "o")
        axes.loglog(x, [1e3 * point for point in law], "-", linewidth=1)
        axes.set(xlabel=each.facts["axis"], ylabel="ms per update")
        axes.set_title(f"exponent {each.facts['exponent']:.2f}", fontsize="medium")
    figure.savefig(path, dpi=120)
