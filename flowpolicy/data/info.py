"""What is known about a data set: where it came from and what its rewards mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from flowpolicy.errors import DataError

SuccessTiming = Literal["pre", "post"]
Origin = Literal["embedded", "generated", "file"]


@dataclass(frozen=True)
class DatasetInfo:
    """The record that travels with a data set into a run folder.

    Args:
        name: the name by which it was asked for.
        env_id: the environment's id, with the task spelled out.
        task: the number of the task whose rewards these are.
        split: ``"train"`` or ``"val"``.
        success_timing: which state a row's reward and ``terminated`` describe: the one before the
            action (``"pre"``, as OGBench relabels its data) or the one after it (``"post"``).
        origin: ``"embedded"`` in the package, ``"generated"`` on some machine by
            :func:`flowpolicy.data.generate` (its JSON file beside it knows this content), or any
            other ``"file"``; ``None`` for data of no file and for joined data of several origins.
        ogbench_version: the version that did the relabelling.
        files: SHA-256 of every file that was read, by file name; the name of a second one of that
            name has a piece of its digest.
        transitions: number of rows.
        episodes: number of recorded trajectories.
        obs_dim: `O`.
        act_dim: `A`, for action chunks `h A`.
        n_step: how many rewards a row of n-step data sums at most.
        horizon: `h`, the number of steps in an action chunk.
        discount: the discount per step inside those sums; ``None`` for single steps.
        action_low: what -1 meant before the actions were rescaled; ``None`` if they were not.
        action_high: what +1 meant, likewise.
        fingerprint: :meth:`Dataset.fingerprint` of the data that a run loaded, before it made
            windows of them or scaled them; ``None`` outside of runs.

    Example:
        >>> info = DatasetInfo(name="mine", obs_dim=3, act_dim=1)
        >>> DatasetInfo.from_dict(info.to_dict()) == info
        True
    """

    name: str = "unnamed"
    env_id: str | None = None
    task: int | None = None
    split: str | None = None
    success_timing: SuccessTiming | None = None
    origin: Origin | None = None
    ogbench_version: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    transitions: int = 0
    episodes: int = 0
    obs_dim: int = 0
    act_dim: int = 0
    n_step: int = 1
    horizon: int = 1
    discount: float | None = None
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    fingerprint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> DatasetInfo:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: an entry that this version does not know.
        """
        unknown = set(record) - {entry.name for entry in fields(cls)}
        if unknown:
            raise DataError(
                f"data set information has unknown entries {sorted(unknown)}; "
                "it was written by another version of flowpolicy."
            )
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in record.items()
        }
        return cls(**values)
