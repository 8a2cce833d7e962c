"""What the doctor says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["ok", "note", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)
WIDTH = 100


@dataclass(frozen=True)
class Finding:
    r"""One thing that was looked at.

    Attributes:
        level: ``ok``; ``note``, which may be as it should; ``warning``, which probably is not;
            ``error``, with which something does not work.
        subject: what was looked at.
        told: what was found, with numbers, and what it means.
        advice: what to do.

    Example:
        >>> finding = Finding("warning", "disk", "0.5 GB free in /tmp", "make room")
        >>> print(*finding.lines(), sep="\n")
        warning  disk: 0.5 GB free in /tmp
                 -> make room
    """

    level: Level
    subject: str
    told: str
    advice: str = ""

    def lines(self, width: int = WIDTH) -> list[str]:
        """The finding as plain text, no line longer than ``width``."""
        margin = " " * 9
        told = textwrap.wrap(
            f"{self.subject}: {self.told}",
            width,
            initial_indent=f"{self.level:<9}",
            subsequent_indent=margin,
            break_on_hyphens=False,
        )
        advice = textwrap.wrap(
            self.advice,
            width,
            initial_indent=f"{margin}-> ",
            subsequent_indent=f"{margin}   ",
            break_on_hyphens=False,
        )
        return [*told, *advice]


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level of several findings, ``ok`` of none.

    Example:
        >>> worst([Finding("ok", "a", "b"), Finding("note", "a", "b")])
        'note'
    """
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
