"""Which policies a method asks, and how it combines their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from flowpolicy.errors import ConfigError, unknown_name
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.modules.actor import Actor


@final
@dataclass(frozen=True)
class Blend:
    r"""One policy, or several whose values are combined.

    .. math:: v = \mathrm{combine}_p\, \bar Q(s, \mu_p(s, z))

    Args:
        policies: names of a recipe's policies, for GFP ``"actor"`` and ``"flow"``.
        combine: of their values, with several.

    Example:
        >>> from flowpolicy.functional import min_value
        >>> Blend(("actor", "flow"), min_value).policies
        ('actor', 'flow')
    """

    policies: tuple[str, ...] = ("actor",)
    combine: Aggregation = mean_value

    def pick(self, known: Mapping[str, Actor]) -> tuple[Actor, ...]:
        """The named policies.

        Raises:
            ConfigError: a name that the recipe does not know.
        """
        if isinstance(self.policies, str):
            raise ConfigError(
                f"Blend: policies must be a tuple of names, got {self.policies!r}. "
                f"Use ({self.policies!r},)."
            )
        for name in self.policies:
            if name not in known:
                raise unknown_name("policy", name, known)
        return tuple(known[name] for name in self.policies)
