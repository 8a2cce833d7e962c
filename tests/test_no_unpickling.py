"""The package calls nothing that runs what a file says; ruff's rules against it are in force.

Ruff 0.17 has no rule about ``torch.load``; the search below has.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flowpolicy"

#: Modules whose loaders run code of the file, or that run code.
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
MODULES |= {"runpy", "code", "torch.distributed.checkpoint", "torchrl.checkpoint"}
#: Calls by their last name: of torch, numpy, TensorDict, replay buffers, and Python's own.
CALLS = {
    "load_memmap",
    "loads",
    "eval",
    "exec",
    "safe_load",
    "full_load",
    "unsafe_load",
    "hub_load",
}
LOADERS = {"torch", "np", "numpy", "dcp", "jit", "serialization"}
#: What may be called ``loads``: formats that hold values and nothing else.
TEXT = {"json", "tomllib"}


AS_FILE = ("--stdin-filename", "flowpolicy/planted.py", "-")


def offences(source: str) -> Iterator[str]:
    """What a module does that could run code from a file, with its line."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
        yield from (f"{node.lineno}: import {name}" for name in names if name in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        told = {word.arg: ast.unparse(word.value) for word in node.keywords}
        bad = name in CALLS and owner not in TEXT and not (name in ("eval", "exec") and owner)
        bad |= name == "load" and owner.rpartition(".")[2] in LOADERS
        bad |= name == "read_array" and told.get("allow_pickle") != "False"
        bad |= told.get("weights_only") == "False" or told.get("allow_pickle") == "True"
        if bad:
            yield f"{node.lineno}: {called}"


def test_the_package_has_no_call_that_could() -> None:
    found = {
        str(path.relative_to(PACKAGE.parent)): told
        for path in sorted(PACKAGE.rglob("*.py"))
        if (told := list(offences(path.read_text())))
    }
    assert not found  # nor is there any exception to list


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from torch.distributed import checkpoint",
        "from torchrl.checkpoint import Checkpoint",
        "torch.load(path)",
        "np.load(path, allow_pickle=False)",  # read_npz looks at the sizes first
        "torch.jit.load(path)",
        "TensorDict.load_memmap(path)",
        "buffer.loads(path)",
        "dcp.load(state, checkpoint_id=path)",
        "np.lib.format.read_array(stream)",
        "np.lib.format.read_array(stream, allow_pickle=True)",
        "load(path, weights_only=False)",
        "eval(text)",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert list(offences(line))


def test_the_search_lets_pass() -> None:
    harmless = "json.loads(text)\ntomllib.loads(text)\npolicy.eval()\nagent.load(path)\n"
    assert not list(offences(harmless + "read_array(stream, allow_pickle=False)"))


def test_ruff_would_stop_it() -> None:
    lines = {
        "S301": "import pickle\npickle.loads(b'')\n",
        "S302": "import marshal\nmarshal.loads(b'')\n",
        "S307": "eval('1')\n",
    }
    for rule, source in lines.items():
        result = subprocess.run(  # by the project's own settings, as a file of the package
            [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=json", *AS_FILE],
            input=source,
            capture_output=True,
            text=True,
            cwd=PACKAGE.parent,
            check=False,
        )
        assert rule in {each["code"] for each in json.loads(result.stdout)}, rule
    silenced = [
        path for path in PACKAGE.rglob("*.py") for rule in lines if rule in path.read_text()
    ]
    assert not silenced
