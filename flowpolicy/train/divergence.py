"""Updates of a run that were skipped: a warning at the first, the end after too many in a row."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import final

from tensordict import TensorDictBase

from flowpolicy.agents import Agent
from flowpolicy.agents.diagnosis import first_not_finite
from flowpolicy.checkpoint.tensors import tensors_to_bytes
from flowpolicy.errors import FlowPolicyError
from flowpolicy.run_folder import RunFolder


class DivergedError(FlowPolicyError, ArithmeticError):
    """Updates are skipped one after the other, because their numbers are not finite."""


@final
class SkipWatch:
    """Looks at the counters of an agent whenever they are read.

    Args:
        agent: The learner.
        folder: Of the run.
        most: So many skipped updates in a row stop the run.
    """

    def __init__(self, agent: Agent, folder: RunFolder, most: int) -> None:
        self.agent = agent
        self.folder = folder
        self.most = most
        self._warned = False

    def look(self, row: Mapping[str, float], batch: TensorDictBase, *, ends: bool) -> None:
        """Warns of the first skipped update, and of the last ones where the run ends with them.

        Args:
            row: The metrics that were read.
            batch: Of the latest update.
            ends: Whether it is the run's last.

        Raises:
            DivergedError: Too many were skipped in a row, or all of a run.
        """
        skipped, in_a_row = int(row["skipped"]), int(row["skipped_in_a_row"])
        step = self.agent.step
        if in_a_row >= self.most or (ends and in_a_row == step):
            raise self._diverged(in_a_row, batch)
        if skipped and (not self._warned or (ends and in_a_row)):
            self._warned = True
            which = f"{skipped} of {step}"
            if in_a_row:
                which += f", the latest {in_a_row} among them,"
            warnings.warn(
                f"updates were skipped, because a loss or the gradient was not finite: {which} up "
                f"to update {step}; see the column 'skipped' of {self.folder.metrics}",
                stacklevel=2,
            )

    def _diverged(self, in_a_row: int, batch: TensorDictBase) -> DivergedError:
        names = {
            key if isinstance(key, str) else ".".join(key): value
            for key, value in batch.items(include_nested=True, leaves_only=True)
        }
        self.folder.bad_batch.write_bytes(tensors_to_bytes(names))
        found = first_not_finite(self.agent, batch) or (
            "with other noise this batch gives finite numbers"
        )
        steps = self.folder.checkpoints.steps()
        good = (
            f"the last good checkpoint is {self.folder.checkpoints.path(steps[-1])}"
            if steps
            else "no checkpoint had been written"
        )
        return DivergedError(
            f"the latest {in_a_row} updates up to update {self.agent.step} were skipped, because a "
            f"loss or the gradient was not finite: {found}. The batch is in "
            f"{self.folder.bad_batch}; {good}. Look at {self.folder.metrics}; where the data are "
            "not the reason, try a lower learning rate"
        )
