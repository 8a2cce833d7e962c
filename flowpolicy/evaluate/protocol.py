"""How the papers evaluate: which actions are played, and which evaluations make a score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

from flowpolicy.errors import ConfigError, unknown_name
from flowpolicy.modules import Actor

Spread = Literal["std", "interval"]


@final
@dataclass(frozen=True, kw_only=True)
class Protocol:
    r"""The rules of one paper.

    .. math:: \text{score of a seed} = \frac1L \sum_{l=0}^{L-1} e_{T - l \Delta}

    with :math:`e_t` the mean over episodes after `t` steps and `T` the end of training: never the
    best evaluation of a run.

    Attributes:
        name: What it is called in configurations.
        sampled: Whether Gaussian policies are sampled, and not played at their mode. Flow and
            one-step policies are always sampled.
        last: `L`, how many evaluations are averaged, the end of training being the last.
        apart: :math:`\Delta`, steps between them; ``None`` takes the run's own evaluations.
        episodes: Of one evaluation in the paper.
        seeds: Of a result in the paper.
        spread: What the paper quotes beside the mean: the population standard deviation over seeds,
            or the 95 % bootstrap interval of the mean.

    Example:
        >>> protocol("gfp").select([700_000, 800_000, 900_000, 1_000_000], end=1_000_000)
        (800000, 900000, 1000000)

    Source: FQL arXiv 2502.02538, GFP arXiv 2512.03973, QAM arXiv 2601.14234, and their code.

    Differences from the authors' code: the starts and the noise of the episodes are the same at
    every evaluation of a run (``TrainConfig.eval_seed``), theirs are drawn anew.
    """

    name: str
    last: int
    episodes: int
    seeds: int
    apart: int | None = None
    sampled: bool = False
    spread: Spread = "std"

    def acting(self, actor: Actor) -> Actor:
        """What is played of ``actor``: itself, or its mode."""
        return actor if self.sampled else actor.mode

    def select(self, steps: Iterable[int], end: int) -> tuple[int, ...]:
        """Those of the evaluations after ``steps`` steps of training that make the score.

        Args:
            steps: When a run was evaluated; before the first step does not count.
            end: `T`, the last step of training.

        Raises:
            ConfigError: One of them is missing; a score of fewer would be another protocol's.
        """
        known = sorted({step for step in steps if 0 < step <= end})
        if self.apart is None:
            wanted = known[-self.last :]
            complete = len(wanted) == self.last and wanted[-1] == end
        else:
            wanted = [end - self.apart * k for k in reversed(range(self.last))]
            complete = set(wanted) <= set(known)
        if not complete:
            raise ConfigError(self._refusal(known, end))
        return tuple(wanted)

    def _refusal(self, known: list[int], end: int) -> str:
        if self.last == 1:
            rule = f"the evaluation after {end:,} steps"
        elif self.apart is None:
            rule = f"the mean of the last {self.last} evaluations, the last of them after {end:,}"
            rule += " steps"
        else:
            before = " and ".join(f"{self.apart * k:,}" for k in range(1, self.last))
            rule = f"the mean of the evaluations after {end:,} steps and {before} steps before that"
        found = ", ".join(f"{step:,}" for step in known[-4:])
        evaluated = f"was evaluated after {found} steps" if found else "has no evaluation"
        told = f"the score of protocol {self.name} is {rule}; the run {evaluated}"
        if self.apart is None and known[-1:] == [end] and end >= self.last:
            every = end // self.last
            told += f" (evaluate at least {self.last} times: --eval-every {every} or less)"
        return told


PROTOCOLS = {
    each.name: each
    for each in (
        Protocol(name="fql", last=3, episodes=50, seeds=8),
        Protocol(name="fql_d4rl", last=1, episodes=50, seeds=8),
        Protocol(name="gfp", last=3, apart=100_000, episodes=100, seeds=8),
        Protocol(name="gfp_d4rl", last=1, episodes=100, seeds=8),
        Protocol(name="qam", last=1, episodes=50, seeds=12, sampled=True, spread="interval"),
    )
}
"""The protocols by name: ``fql`` and ``gfp`` are those of the papers on OGBench."""


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        ConfigError: There is none; the message has the nearest names.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
