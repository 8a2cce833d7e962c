"""Runs the code of every tutorial and puts what it printed and drew below each block.

A tutorial is an ordinary page: its ```python blocks run from top to bottom in a process of their
own. What came out is kept in ``build/tutorials`` until the code of the page or the package changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from blocks import BLOCK

LOG = get_plugin_logger("tutorials")
ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "tutorials"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Runs the tutorials, two at a time, and adds their figures."""
    pages = [file for file in files.documentation_pages() if file.src_uri.startswith("tutorials/")]
    pages = [page for page in pages if BLOCK.search(page.content_string)]
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda page: run(Path(page.src_uri), page.content_string), pages))
    LOG.info("%d tutorials in %.0f s", len(pages), time.perf_counter() - started)
    for folder in folders:
        for figure in sorted(folder.glob("*.svg")):
            uri = f"tutorials/figures/{folder.name}-{figure.name}"
            files.append(File.generated(config, uri, abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Inserts output and figures."""
    uri = Path(page.file.src_uri)
    if uri.parts[0] != "tutorials" or not BLOCK.search(markdown):
        return markdown
    outputs = iter(json.loads((KEPT / uri.stem / "outputs.json").read_text())["blocks"])
    return BLOCK.sub(lambda match: match[0] + shown(uri.stem, next(outputs)), markdown)


def shown(name: str, output: dict[str, Any]) -> str:
    """One block's text, and its figures for light and for dark pages."""
    text = f"\n``` {{ .text .output }}\n{output['text'].rstrip()}\n```\n" if output["text"] else ""
    for figure, label in output["figures"]:
        pictures = "".join(
            f"![{label}](figures/{name}-{figure}-{scheme}.svg#only-{scheme})"
            for scheme in ("light", "dark")
        )
        text += f"\n{pictures}\n"
    return text


def run(uri: Path, text: str) -> Path:
    """The folder with a tutorial's output, made anew where something has changed."""
    folder = KEPT / uri.stem
    state = hashlib.sha256("".join(BLOCK.findall(text)).encode())
    for source in [
        Path(__file__).with_name("blocks.py"),
        *sorted(path for path in (ROOT / "flowpolicy").rglob("*") if path.is_file()),
    ]:
        if "__pycache__" in source.parts:
            continue
        state.update(source.read_bytes())
    kept = folder / "outputs.json"
    if kept.is_file() and json.loads(kept.read_text())["state"] == state.hexdigest():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "MUJOCO_GL": "disable",
        "PYTHONPATH": str(ROOT),
        "RL_LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, str(Path(__file__).with_name("blocks.py")), str(ROOT / "docs" / uri)]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, str(folder), state.hexdigest()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    if done.returncode:
        raise PluginError(f"{uri} failed:\n{done.stdout}\n{done.stderr}")
    if done.stderr.strip():  # strict builds fail
        LOG.warning("%s: %s", uri, done.stderr.strip())
    cpu = json.loads(kept.read_text())["cpu_seconds"]
    LOG.info("%s: %.0f s, %.0f of them computing", uri, time.perf_counter() - started, cpu)
    return folder
