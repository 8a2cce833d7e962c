"""Every ```python block of a page runs, in order; every relative link has its file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowpolicy.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TUTORIALS = ROOT / "docs" / "tutorials"  # run when the site is built
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[str]:
    """The page's blocks, each moved down to its own line, for the traceback."""
    text = page.read_text()
    return ["\n" * text.count("\n", 0, m.start(1)) + m.group(1) for m in FENCE.finditer(text)]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page) and page.parent != TUTORIALS],
    ids=name_of,
)
def test_the_page_runs_as_written(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a page may write files
    namespace = {"__name__": "__main__"}
    for block in blocks(page):
        exec(compile(block, page, "exec"), namespace)  # noqa: S102 (our own pages)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_to_files(page: Path) -> None:
    targets = [t for t in LINK.findall(page.read_text()) if "://" not in t and "mailto:" not in t]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{name_of(page)} links to {missing}"


def test_the_readme_shows_whole_programs() -> None:
    assert len(blocks(ROOT / "README.md")) >= 2


def test_the_page_of_the_command_line_has_every_command() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    told = re.findall(r"^\| `flowpolicy (\w+)", page, re.MULTILINE)
    assert set(told) == set(COMMANDS)
