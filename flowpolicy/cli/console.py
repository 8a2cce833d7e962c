"""All that the command line writes."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TypeVar

from flowpolicy.errors import ConfigError, require_installed

T = TypeVar("T")


def replace_what_cannot_be_shown() -> None:
    """Has standard output write ``?`` for a character that its encoding lacks, such as ``±``."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # not where a program has put another in place
        sys.stdout.reconfigure(errors="replace")


def say(*lines: str) -> None:
    """Writes lines to standard output."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(kind: str, message: str) -> None:
    """Writes ``kind: message`` to standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"{kind}: {message}\n")
    sys.stderr.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column stands left, the others right.

    Example:
        >>> for line in table(["policy", "success"], [["FQL", "0.95"]]):
        ...     print(line)
        policy  success
        ------  -------
        FQL        0.95
    """
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    cells.insert(1, ["-" * width for width in widths])
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def after_name(arguments: Sequence[str], question: str) -> Sequence[str]:
    """What follows the name that a command begins with; all where only help is asked for.

    Raises:
        ConfigError: There is no name; ``question`` asks for it.

    Example:
        >>> after_name(["fql", "--jobs", "2"], "which agent?")
        ['--jobs', '2']
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[1:]
    if not {"-h", "--help"} & set(arguments):
        raise ConfigError(question)
    return arguments


def parse(
    kind: type[T],
    arguments: Sequence[str],
    *,
    program: str,
    description: str,
    positional: bool = False,
) -> T:
    """Reads the options of a command into a dataclass.

    Args:
        kind: The dataclass; its fields are the options.
        arguments: What the user typed.
        program: Name in the usage line.
        description: What the command does.
        positional: Whether fields without a default are given by position.

    Raises:
        ConfigError: The option parser is not installed.
    """
    require_installed("the command line", "tyro", extra="cli")
    import tyro

    return tyro.cli(
        kind,
        args=list(arguments),
        prog=program,
        description=description,
        config=(tyro.conf.PositionalRequiredArgs,) if positional else (),
    )
