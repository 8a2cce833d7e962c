"""One method over the values of a coefficient, in several variants."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowpolicy.agents import recipe_options
from flowpolicy.benchmark.backends import LocalBackend
from flowpolicy.benchmark.benchmark import FOOTNOTE, Report, claim
from flowpolicy.benchmark.cells import failed_cells, finished_cells, run_cells
from flowpolicy.benchmark.data import require_data
from flowpolicy.benchmark.grid import setting_text
from flowpolicy.benchmark.suite import Suite
from flowpolicy.benchmark.summary import summarize
from flowpolicy.benchmark.table import write_tables
from flowpolicy.errors import ConfigError, unknown_name
from flowpolicy.plot.sensitivity import Place, sensitivity_plot
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.seeds import require_seeds
from flowpolicy.train.task import weightless_agent

VALUES = (0.03, 0.3, 3.0, 30.0, 300.0)
SPREAD = 0.25
"""Of the variant whose coefficient is learned, where none is asked for."""

_MARKER = "sensitivity.json"


def usual_variants(agent: str) -> tuple[str, ...]:
    """With the Q normalisation, without it, and with a learned coefficient, as far as known.

    Example:
        >>> usual_variants("fbrac")
        ('scale=inverse_mean_abs', 'scale=unit')
    """
    known = recipe_options(agent)
    found = ["scale=inverse_mean_abs", "scale=unit"] if "scale" in known else []
    if "spread" in known:
        found.append(f"spread={SPREAD}")
    return tuple(found)


def variant_options(variant: str) -> dict[str, Any]:
    """The options that ``option=value`` pairs with commas between them say.

    Raises:
        ConfigError: There is no ``=``.

    Example:
        >>> variant_options("scale=unit,spread=0.25")
        {'scale': 'unit', 'spread': 0.25}
    """
    options: dict[str, Any] = {}
    for pair in variant.split(","):
        name, separator, text = pair.partition("=")
        if not (name and separator and text):
            raise ConfigError(f"variant {variant!r} must be option=value[,option=value...]")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def run_sensitivity(
    agent: str,
    env: str,
    out: str | Path,
    *,
    option: str = "alpha",
    values: Sequence[float] = VALUES,
    variants: Sequence[str] = (),
    suite: str = "small",
    seeds: Sequence[int] = (0, 1, 2),
    jobs: int = 2,
    data_root: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> Report:
    """Runs what is not finished, and writes tables and the plot of all that is.

    Args:
        agent: Method of the suite.
        env: Environment of the suite.
        out: Folder; runs lie in ``<out>/<variant>/<value>/seed_<i>``.
        option: The coefficient.
        values: Of it, above 0.
        variants: Each ``option=value[,option=value...]``; by default :func:`usual_variants`.
        suite: Where the other settings come from.
        seeds: Of each value and variant.
        jobs: How many processes run at a time.
        data_root: Folder of data sets that are not embedded.
        announce: Called with one line about each run that ends.

    Raises:
        ConfigError: An option, value or variant cannot be, or ``out`` holds something else.
        Stopped: SIGINT or SIGTERM came; finished runs stay.
    """
    known, folder = Suite.read(suite), Path(out)
    if not values or any(not value > 0 for value in values):
        raise ConfigError(f"values must be numbers above 0, at least one, got {list(values)}")
    require_seeds(seeds)
    if option not in recipe_options(agent):
        raise unknown_name(f"option of {agent}", option, recipe_options(agent))
    if type(recipe_options(agent)[option].default) is int:  # the command line knows fractions only
        values = [int(value) if float(value).is_integer() else value for value in values]
    cells = {}
    for variant in variants or usual_variants(agent) or ("suite",):
        own = {} if variant == "suite" else variant_options(variant)
        if option in own:
            raise ConfigError(
                f"variant {variant!r} sets {option}, whose values are compared; leave it out there"
            )
        for value in values:
            for seed in seeds:
                options = {**own, option: value}
                config = known.config(env, agent, seed=seed, data_root=data_root, **options)
                cells[folder / variant / setting_text(value) / f"seed_{seed}"] = config
            weightless_agent(config)  # refuses what cannot be
    require_data(cells, download=True)
    claim(folder, _MARKER, {"agent": agent, "env": env, "option": option, "suite": suite})
    run_cells(cells, backend=LocalBackend(jobs), announce=announce)
    return sensitivity_report(folder)


def sensitivity_report(out: str | Path) -> Report:
    """Writes the tables and the plot of what is finished below a folder.

    Raises:
        ConfigError: It is not the folder of a sensitivity study.
    """
    folder = Path(out)
    said = RunFolder(folder).read_json(_MARKER)
    groups: dict[tuple[str, float], list[RunFolder]] = {}
    for run in finished_cells(folder):
        variant, value = run.path.parts[-3:-1]
        groups.setdefault((variant, float(value)), []).append(run)
    option, title = said["option"], f"{said['agent']} on {said['env']}"
    found = {
        (variant, value): summarize(said["env"], f"{variant}, {option}={setting_text(value)}", runs)
        for (variant, value), runs in sorted(groups.items())
    }
    if found:
        write_tables(list(found.values()), folder, title=f"{title}: sensitivity to {option}")
        curves: Mapping[str, list[Place]] = {variant: [] for variant, _ in found}
        for (variant, place), s in found.items():
            curves[variant].append(Place(place, s.mean, s.interval, s.values))
        success = all(s.success for s in found.values())
        sensitivity_plot(
            curves,
            folder / "plot.png",
            option=option,
            axis="success rate (%)" if success else "mean return",
            title=title,
            footnote=FOOTNOTE.replace("diamonds", "large marks").replace("dots", "marks"),
            percent=success,
        )
    return Report(folder, tuple(found.values()), failed_cells(folder))
