"""Docstrings are written for ``help()``; their Sphinx directives become the site's Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

BLOCK = re.compile(r"^([ ]*)\.\. math::[ ]*(.*(?:\n(?:\1[ ]+.*|[ ]*))*)", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
ROLE = re.compile(r":(?:func|class|meth|mod|attr):`~?([^`]+)`")


class Docstrings(griffe.Extension):
    """Turns ``.. math::``, ``:math:`` and cross-reference roles into Markdown."""

    def on_instance(self, *, obj: griffe.Object | griffe.Alias, **_: Any) -> None:
        """Of every object that has a docstring of its own."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """The text with equations between dollars."""
    text = BLOCK.sub(_block, text)
    text = EXAMPLE.sub("Examples:", text)  # the plural is a section of code to mkdocstrings
    return ROLE.sub(r"`\1`", INLINE.sub(r"$\1$", text))


def _block(match: re.Match[str]) -> str:
    indent, body = match[1], match[2]
    first, _, rest = body.partition("\n")
    text = "\n".join([first.strip(), textwrap.dedent(rest).strip()]).strip()
    equations = "".join(map(_equation, re.split(r"\n[ ]*\n", text)))
    return textwrap.indent(f"\n{equations}", indent) + "\n"


def _equation(latex: str) -> str:
    if "\\\\" in latex or "&" in latex:  # Sphinx aligns such equations by itself
        latex = f"\\begin{{aligned}}\n{latex}\n\\end{{aligned}}"
    return f"\n$$\n{latex}\n$$\n"
