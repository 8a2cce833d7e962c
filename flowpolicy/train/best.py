"""The best evaluation of a run so far."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping


def best_step(rows: Iterable[Mapping[str, str]], actor: str, steps: Collection[int]) -> int | None:
    """The step of the best evaluation of an actor, the first of equally good ones.

    Success counts where the environment tells of any, the mean return otherwise.

    Args:
        rows: Of ``eval.csv``.
        actor: Whose.
        steps: Which steps are in question.

    Example:
        >>> rows = [{"step": f"{n}", "actor": "policy", "return": f"{n % 3}"} for n in range(9)]
        >>> best_step(rows, "policy", range(3, 9))
        5
    """
    own = [row for row in rows if row["actor"] == actor]
    tells = any(row.get("success") for row in own)  # some say nothing where there is none
    scores = {
        int(row["step"]): _score((row.get("success") or "0") if tells else row["return"])
        for row in own
        if int(row["step"]) in steps
    }
    return max(scores, key=scores.__getitem__) if scores else None


def _score(cell: str) -> float:
    value = float(cell)
    return -math.inf if math.isnan(value) else value
