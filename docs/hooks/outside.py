"""Files beside ``docs/`` in the site: pages of the root, and sources that pages link to.

On GitHub a page links to ``../flowpolicy/agents/recipes/fql.py``. Here that file becomes a page of
its own, so that the site is whole without any host.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "tests/golden/README.md": "recorded-updates.md",
}
LANGUAGES = {".py": "python", ".toml": "toml", ".cff": "yaml", "": "make"}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what the pages link to outside of ``docs/``."""
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    texts |= {page: (ROOT / page).read_text() for page in PAGES if page != "README.md"}
    linked = {target for page, text in texts.items() for target in targets(page, text)}
    for page, uri in PAGES.items():
        if page != "README.md":
            content = rewritten(page, uri, texts[page])
            files.append(File.generated(config, uri, content=content))
    for target in sorted(linked):
        if target not in PAGES and not target.startswith("docs/"):
            files.append(File.generated(config, uri_of(target), **source_page(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links that leave ``docs/`` to the pages made above."""
    uri = page.file.src_uri
    inside = (ROOT / "docs" / uri).is_file()
    return rewritten(f"docs/{uri}", uri, markdown) if inside else markdown


def targets(page: str, text: str) -> list[str]:
    """The repository's files that a page links to, relative to the root."""
    found = [m[2] for m in LINK.finditer(text) if "://" not in m[2] and "mailto:" not in m[2]]
    return [absolute(page, target) for target in found]


def absolute(page: str, target: str) -> str:
    """What a page calls ``target``, relative to the root of the repository."""
    return os.path.normpath(PurePosixPath(page).parent / target)


def uri_of(target: str) -> str:
    """Where a file of the repository lies in the site's tree."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if Path(target).suffix in LANGUAGES:
        return f"source/{target}.md"
    return f"source/{target}"


def rewritten(page: str, uri: str, text: str) -> str:
    """The page's text with links as the site's tree has them."""

    def link(match: re.Match[str]) -> str:
        if "://" in match[2] or "mailto:" in match[2]:
            return match[0]
        relative = os.path.relpath(uri_of(absolute(page, match[2])), PurePosixPath(uri).parent)
        return f"{match[1]}{relative}{match[3]}"

    return LINK.sub(link, text)


def source_page(target: str) -> dict[str, Any]:
    """A page that shows a text file; any other file as it is."""
    path = ROOT / target
    if path.suffix not in LANGUAGES:
        return {"content": path.read_bytes()}
    head = f"---\nsearch:\n  exclude: true\n---\n\n# `{target}`\n\n"
    return {"content": f"{head}````{LANGUAGES[path.suffix]}\n{path.read_text()}````\n"}
