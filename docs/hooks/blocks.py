"""Runs the ```python blocks of one page and writes down what each printed and drew.

``python docs/hooks/blocks.py <page> <folder> <state>``; the figures are those of pyplot, a figure's
label is its description: ``plt.subplots(num="Values of the critic")``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def main(page: Path, folder: Path, state: str) -> None:
    """Runs the page in an empty folder."""
    import torch
    from matplotlib import pyplot as plt

    from flowpolicy.plot import figure_style

    torch.set_num_threads(1)
    torch.manual_seed(0)
    text = page.read_text()
    namespace = {"__name__": "__main__"}
    outputs = []
    with tempfile.TemporaryDirectory() as empty, figure_style():
        os.chdir(empty)
        for number, match in enumerate(BLOCK.finditer(text)):
            code = "\n" * (text.count("\n", 0, match.start(1))) + match[1]
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, page, "exec"), namespace)  # noqa: S102 (our own page)
            figures = []
            for figure in plt.get_fignums():
                name = f"{number:02d}-{figure}"
                figures.append([name, save(plt.figure(figure), folder, name)])
            plt.close("all")
            outputs.append({"text": printed.getvalue(), "figures": figures})
        os.chdir(page.parent)
    report = {"state": state, "cpu_seconds": time.process_time(), "blocks": outputs}
    (folder / "outputs.json").write_text(json.dumps(report))


def save(figure: object, folder: Path, name: str) -> str:
    """Writes a figure for light and for dark pages; returns its label."""
    from flowpolicy.plot.style import dark

    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    (folder / f"{name}-light.svg").write_text(drawn.getvalue())
    (folder / f"{name}-dark.svg").write_text(dark(drawn.getvalue()))
    return figure.get_label()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3])
