"""The page of each recipe tells what the recipe is: its losses, options, metrics and records."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import NoReturn

import pytest

import flowpolicy as fp
from flowpolicy.cli import train as cli
from flowpolicy.train import TrainConfig
from tests.agents.recipes import small
from tests.agents.test_gradient_table import TRAINS
from tests.golden.test_recorded_updates import READERS

FOLDER = Path(__file__).parents[2] / "docs" / "methods"
CODE = re.compile(r"`([^`]+)`")
RECORD = re.compile(r"\]\(\.\./\.\./tests/golden/(\w+)\.npz\)")


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text()


def section(name: str, title: str) -> str:
    """What stands between this heading of the page and the next."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name}.md lacks the section {title!r}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of every row but the ruler, without their marks of code."""
    rows = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [[cell.strip("`") for cell in row] for row in [cells[0], *cells[2:]]]


def test_every_recipe_has_a_page_and_every_page_a_recipe() -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"README"}
    assert pages == set(fp.agents.RECIPES)


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_the_page_says_who_trains_whom(name) -> None:
    head, *rows = table(section(name, "Who trains whom"))
    assert all(len(row) == len(head) for row in rows)
    assert {cell for row in rows for cell in row[1:]} <= {"x", ""}
    trains = {
        row[0]: {network for network, cell in zip(head[1:], row[1:], strict=True) if cell}
        for row in rows
    }
    assert trains == TRAINS[name]
    agent = small(name)
    assert set(head[1:]) == set(agent.networks) | ({"targets"} if agent.targets else set())


class _Parsed(Exception):  # noqa: N818 (it ends the command where training would begin)
    def __init__(self, config: TrainConfig) -> None:
        self.config = config


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_the_command_is_accepted(name, monkeypatch) -> None:
    def instead(config: TrainConfig, *_: object, **__: object) -> NoReturn:
        raise _Parsed(config)

    monkeypatch.setattr(cli, "train", instead)
    found = re.search(r"^```bash\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)
    assert found
    program, command, *arguments = shlex.split(found[1].replace("\\\n", " "))
    assert (program, command, arguments[0]) == ("flowpolicy", "train", name)
    with pytest.raises(_Parsed) as parsed:
        cli.command(arguments)
    config = parsed.value.config
    assert config.agent == name
    fp.agents.build(name, 3, 2, **{**config.recipe, "hidden": (8,)})


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_options_and_metrics_exist(name) -> None:
    options = [
        row[0].replace("`", "").split(", ") for row in table(section(name, "Options that matter"))
    ]
    known = {"option", *fp.agents.recipe_options(name)}
    assert {option for row in options for option in row} <= known
    loss = small(name).loss
    metrics = {str(key) for key in loss.out_keys}
    named = {
        each
        for each in CODE.findall(section(name, "Metrics to watch"))
        if re.match(rf"({'|'.join(['loss', *(each.name for each in loss.losses)])})_", each)
    }
    assert named and named <= metrics, named - metrics


def test_the_pages_name_every_recorded_update() -> None:
    named = [record for name in fp.agents.RECIPES for record in RECORD.findall(page(name))]
    assert sorted(named) == sorted(READERS)


def test_the_index_lists_every_recipe_with_its_summary() -> None:
    _, *rows = table((FOLDER / "README.md").read_text())
    expected = {
        f"[`{name}`]({name}.md)": inspect.cleandoc(recipe.__doc__ or "").split("\n\n")[0]
        for name, recipe in fp.agents.RECIPES.items()
    }
    assert {row[0]: row[1] for row in rows} == {
        link: summary.replace("\n", " ") for link, summary in expected.items()
    }
