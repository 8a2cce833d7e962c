"""What the site is made of: the reference is whole, and the hooks do what they say."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flowpolicy as fp
from flowpolicy.plot.style import COLORS, FAINT, INK, ON_DARK, dark

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
ENTRY = re.compile(r"^::: flowpolicy\.([\w.]+)$", re.MULTILINE)
MODULES = {"agents", "data", "envs", "functional"}
ELSEWHERE = {"__version__"}


def entries() -> list[str]:
    return [name for page in REFERENCE.glob("*.md") for name in ENTRY.findall(page.read_text())]


def facade() -> set[str]:
    """The names that ``flowpolicy/__init__.py`` declares public, without its modules."""
    text = (ROOT / "flowpolicy" / "__init__.py").read_text()
    return set(re.findall(r"import \w+ as (\w+)$", text, re.MULTILINE)) - MODULES - ELSEWHERE


def test_every_public_name_is_in_the_reference_once() -> None:
    found = [name.split(".")[-1] for name in entries()]
    assert sorted(found) == sorted(set(found))
    wanted = facade() | set(fp.agents.RECIPES) | {n for n in vars(fp.functional) if _public(n)}
    assert wanted <= set(found), wanted - set(found)


def _public(name: str) -> bool:
    """Whether a name of ``functional`` is a function that it exports."""
    value = getattr(fp.functional, name)
    return callable(value) and getattr(value, "__module__", "").startswith("flowpolicy.functional")


def test_every_entry_exists_and_is_documented() -> None:
    for name in entries():
        module, _, attribute = f"flowpolicy.{name}".rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__doc__, name
        path = ROOT.joinpath("flowpolicy", *name.split("."))
        assert not path.with_suffix(".py").exists(), f"{name} is a file, too; name what is in it"


def test_the_navigation_has_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    missing = {page for page in pages if f" {page}\n" not in navigation}
    assert not missing


def test_a_page_is_run_block_by_block(tmp_path: Path) -> None:
    page, out = tmp_path / "page.md", tmp_path / "out"
    out.mkdir()
    drawing = "import matplotlib.pyplot as plt\nplt.figure(num='A line').add_subplot().plot([1, 2])"
    page.write_text(f"Text\n\n```python\nx = 2\n```\n\n```python\nprint(x)\n{drawing}\n```\n")
    subprocess.run(
        [sys.executable, str(ROOT / "docs" / "hooks" / "blocks.py"), str(page), str(out), "state"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    first, second = json.loads((out / "outputs.json").read_text())["blocks"]
    assert first == {"text": "", "figures": []}
    assert second == {"text": "2\n", "figures": [["01-1", "A line"]]}
    assert len(list(out.glob("*.svg"))) == 2


def test_the_page_for_migrants_tells_the_defaults() -> None:
    page = (ROOT / "docs" / "tutorials" / "migrating.md").read_text()
    options = fp.agents.recipe_options("fql")
    rows = {
        row[1].strip(" `"): row[3].strip()
        for row in (line.strip("|").split("|") for line in page.splitlines() if line[:1] == "|")
        if len(row) == 4
    }
    assert (options["alpha"].default is None) == rows["alpha"].startswith("learned, ")
    assert rows["scale"].startswith(f"`{options['scale'].default.__name__}`")
    assert rows["aggregation"] == f"`{options['aggregation'].default.__name__}`"


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("color", [INK, FAINT, *COLORS])
def test_colours_stand_out_on_a_dark_page(color: str) -> None:
    ground = luminance(ON_DARK["#FFFFFF"])
    shown = luminance(dark(color.lower()).upper())
    assert (shown + 0.05) / (ground + 0.05) >= 4
