"""Equations become MathML when the site is built: no script, no font and no host is asked later."""

from __future__ import annotations

import html
import re
from typing import Any

from math_core import LatexError, LatexToMathML
from mkdocs.plugins import get_plugin_logger

LOG = get_plugin_logger("equations")
CONVERTER = LatexToMathML(fancy_error=False)
MARKED = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)
LEFT_OVER = re.compile(r"\$\$|\.\. math::|:math:|\\(?:frac|mathrm|text|big|bar)\b.{0,40}")


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replaces what ``pymdownx.arithmatex`` has marked; what fails or is left over is a warning."""

    def mathml(match: re.Match[str]) -> str:
        latex, block = html.unescape(match[2]).strip(), match[1] == "div"
        try:
            converted = CONVERTER.convert_with_local_state(latex, displaystyle=block)
        except LatexError as error:
            LOG.warning("%s: %s in %s", page.file.src_uri, error, latex)
            return match[0]
        return f'<{match[1]} class="equation">{converted}</{match[1]}>'

    content = MARKED.sub(mathml, content)
    for left in LEFT_OVER.findall(CODE.sub("", content)):
        LOG.warning("%s: %r is no equation as it stands", page.file.src_uri, left)
    return content
