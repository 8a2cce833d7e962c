"""The score of a run in words."""

from __future__ import annotations

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import Protocol
from flowpolicy.results import score
from flowpolicy.run_folder import RunFolder


def scored(run: RunFolder, rules: Protocol, actor: str) -> list[str]:
    """Lines that tell the score of a run, or why it has none by these rules."""
    try:
        found = score(run, rules, actor)
    except ConfigError as reason:
        return [f"no score of {actor}: {reason}"]
    lines = [f"score of {actor} by protocol {rules.name}: {found}"]
    if found.differences:
        lines.append(f"  not as in the paper: {'; '.join(found.differences)}")
    return lines
