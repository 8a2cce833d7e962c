"""``flowpolicy train <agent> --env <id>`` and ``flowpolicy train --resume <run>``."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from flowpolicy import agents
from flowpolicy.agents import recipe_options
from flowpolicy.agents.registry import NAMED_OPTIONS
from flowpolicy.cli.console import parse, say
from flowpolicy.cli.launch import launch, require_alone
from flowpolicy.cli.score import scored
from flowpolicy.errors import ConfigError, require_installed, unknown_name
from flowpolicy.results import Point, pooled, read_points
from flowpolicy.run_folder import RunFolder
from flowpolicy.train import Stopped, TrainConfig, train, train_seeds, train_together
from flowpolicy.train.claim import Resume, finished_already
from flowpolicy.train.process_group import (
    is_first,
    require_shareable,
    restart_hint,
    started_by_torchrun,
)

_HERE = {
    "out": (Path | None, None, "folder to make; by default runs/<agent>-<env>-<time>"),
    "seeds": (
        tuple[int, ...],
        (),
        "train several agents, one process per seed, into <out>/seed_<n>; replaces --seed",
    ),
    "jobs": (int, 2, "with --seeds: how many processes run at a time, one thread each"),
    "together": (
        bool,
        False,
        "with --seeds: train all of them as one program in this process, in place of --jobs",
    ),
    "resume": (
        Literal["auto"] | None,
        None,
        "auto: go on with the run in --out, or begin it where there is none",
    ),
    "processes": (int, 1, "share every batch out among so many processes of this machine"),
    "max_restarts": (
        int,
        0,
        "with --processes: how often they go on from the newest checkpoint after one has died",
    ),
    "preset": (
        bool,
        False,
        "start from the published options on this environment, in place of those of --config",
    ),
    "config": (Path | None, None, "start from the config.json of an earlier run"),
}
"""Options of the command that are not part of the run: type, default, help."""


@dataclasses.dataclass(frozen=True)
class _Resume:
    """Options of going on with a run.

    Attributes:
        resume: Folder of the run, which was stopped or killed.
        processes: Share every batch out among so many processes of this machine.
        max_restarts: How often they go on from the newest checkpoint after one has died.
    """

    resume: Path
    processes: int = 1
    max_restarts: int = 0


def command(arguments: Sequence[str]) -> None:
    """Trains and reports."""
    if arguments and arguments[0].partition("=")[0] == "--resume":
        _resume(arguments)
        return
    if not arguments or arguments[0].startswith("-"):
        _list_agents()
        if not {"-h", "--help"} & set(arguments):
            raise ConfigError("which agent? flowpolicy train <agent> --env <id>")
        return
    name, *rest = arguments
    agent = name.replace("-", "_")
    if agent not in agents.RECIPES:
        raise unknown_name("agent", name, agents.RECIPES)
    kind = options_class(agent, _defaults(agent, rest))
    options = parse(
        kind, rest, program=f"flowpolicy train {name}", description=_summary(agents.RECIPES[agent])
    )
    config = _config(agent, options)
    if options.out is None and started_by_torchrun():
        raise ConfigError("--out is needed with torchrun: all processes must name the same folder")
    out = options.out or Path(f"runs/{agent}-{config.env}-{time.strftime('%Y%m%d-%H%M%S')}")
    if options.resume and options.out is None:
        raise ConfigError("--resume auto needs --out, the folder to go on in")
    resume: Literal[False, "auto"] = "auto" if options.resume else False
    if options.max_restarts and (options.processes == 1 or options.seeds):
        raise ConfigError(
            f"--max-restarts {options.max_restarts} is of --processes: start other runs again with "
            "--out and --resume auto"
        )
    if options.together or options.seeds:
        require_alone(options.processes)
    if options.out is None:
        say(f"run folder: {out}")
    if options.together:
        folder = train_together(config, options.seeds, out, resume=resume, announce=say)
    elif options.seeds:
        jobs = options.jobs
        folder = train_seeds(config, options.seeds, out, jobs=jobs, resume=resume, announce=say)
    else:
        named = [] if options.out else ["--out", str(out)]
        auto = [] if options.resume else ["--resume", "auto"]  # for what is started again
        _train(config, out, options, ["train", *arguments, *named, *auto], resume)
        return
    _report(folder)


def _resume(arguments: Sequence[str]) -> None:
    _refuse_settings(arguments)
    options = parse(
        _Resume,
        arguments,
        program="flowpolicy train",
        description="Go on with a run from its newest intact checkpoint.",
    )
    if options.resume == Path("auto") and not options.resume.exists():
        raise ConfigError(
            "--resume auto belongs to the command that began the run: "
            "flowpolicy train <agent> --env <id> --out <folder> --resume auto"
        )
    folder = RunFolder.open(options.resume)
    saved = folder.config()
    saved.pop("seeds", None)  # of a folder of several runs, which is refused in a moment
    config = TrainConfig.from_dict(saved)
    if finished_already(folder.path, config):
        if is_first():
            say(f"{folder.path} is finished: there is nothing to do")
            _report(folder)
        return
    _train(config, options.resume, options, ["train", *arguments], resume=True)


def _refuse_settings(arguments: Sequence[str]) -> None:
    """Refuses options of a run where one is gone on with."""
    taken = {f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(_Resume)} | {"--help"}
    for argument in arguments:
        option = argument.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in taken:
            raise ConfigError(
                f"{option}: the settings of a run are fixed; beside --resume only --processes and "
                "--max-restarts may be given"
            )


def _train(
    config: TrainConfig, out: Path, options: Any, arguments: Sequence[str], resume: Resume
) -> None:
    """Trains one agent: in this process, or in several that run the command with ``arguments``."""
    if options.processes > 1 and not started_by_torchrun():
        require_shareable(config, options.processes)
        if not resume:
            RunFolder.refuse_existing(out)
        code = launch(
            arguments,
            processes=options.processes,
            max_restarts=options.max_restarts,
            gpus=config.device.startswith("cuda"),
        )
        raise SystemExit(code)
    first = is_first()
    if first and (hint := restart_hint()) is not None:
        say(hint)
    try:
        folder = train(config, out, resume=resume, announce=say if first else None)
    except Stopped as stopped:
        stopped.folder = out  # one run alone, which --resume goes on with
        raise
    if first:
        _report(folder)


def options_class(agent: str, defaults: Mapping[str, Any]) -> Any:
    """A dataclass whose fields are all options of training this agent, each with its help.

    Types, defaults and help come from the recipe's signature and docstring and from
    :class:`TrainConfig`.

    Args:
        agent: Name of the recipe.
        defaults: Values that replace the usual defaults.
    """
    require_installed("the command line", "tyro", extra="cli")
    import tyro

    recipe = agents.RECIPES[agent]
    run_help, run_types = described(TrainConfig), get_type_hints(TrainConfig)
    run_help["env"] = "data set and environment, by the data set's name"  # in Python also others
    option_help, option_types = described(recipe), get_type_hints(recipe)
    fields: list[tuple[str, Any, Any]] = []

    def add(name: str, kind: Any, default: Any, text: str) -> None:
        value = defaults.get(name, default)
        annotated = Annotated[kind, tyro.conf.arg(help=text[:1].upper() + text[1:])]
        required = value is dataclasses.MISSING
        fields.append(
            (name, annotated, dataclasses.field() if required else dataclasses.field(default=value))
        )

    for field in dataclasses.fields(TrainConfig):
        if field.name not in ("agent", "options"):
            add(field.name, run_types[field.name], field.default, run_help.get(field.name, ""))
    for name, (kind, default, text) in _HERE.items():
        add(name, kind, default, text)
    for name, parameter in recipe_options(agent).items():
        if name not in run_types:
            text = f"[{agent}] {_with_short_names(name, option_help.get(name, ''))}"
            add(name, *_named(name, option_types[name], parameter.default), text)
    return dataclasses.make_dataclass(f"Train_{agent}", fields, frozen=True, kw_only=True)


def _named(option: str, kind: Any, default: Any) -> tuple[Any, Any]:
    """Type and default of an option; where its values are objects, those are chosen by name."""
    objects = NAMED_OPTIONS.get(option)
    if objects is None:
        return kind, default
    name = next((name for name, value in objects.items() if value == default), None)
    choice: Any = Literal.__getitem__(tuple(objects))
    return (choice, name) if name is not None else (choice | None, None)


def _with_short_names(option: str, text: str) -> str:
    """The description of an option that calls objects as the command line does."""
    for of, objects in NAMED_OPTIONS.items():
        for name, value in objects.items():
            if hasattr(value, "__name__"):
                short = name if of == option else f"{of} {name}"
                text = re.sub(rf"\b{value.__name__}\b", short, text)
    return text


def described(documented: Any) -> dict[str, str]:
    """The descriptions in the ``Args:`` or ``Attributes:`` section of a docstring, by name.

    Example:
        >>> described(TrainConfig)["offline_steps"]
        'Number of gradient steps on the data.'
    """
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in inspect.cleandoc(documented.__doc__ or "").splitlines():
        if re.fullmatch(r"(Args|Attributes|Keyword Args):", line):
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        elif inside and (match := re.match(r" {4}(\w+)(?: \([^)]*\))?:\s*(.*)", line)):
            name = match[1]
            found[name] = match[2]
        elif inside and name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    # Markup that is for the rendered pages.
    return {
        key: re.sub(r":\w+:`([^`]*)`|``([^`]*)``", r"\1\2", text) for key, text in found.items()
    }


def _defaults(agent: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Values of ``--config`` and ``--preset``, which options on the command line then replace."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--env")
    peek.add_argument("--config", type=Path)
    peek.add_argument("--preset", action="store_true")
    seen, _ = peek.parse_known_args(list(arguments))
    values: dict[str, Any] = {}
    if seen.config is not None:
        try:
            saved = json.loads(seen.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--config {seen.config} cannot be read: {error}") from error
        if not isinstance(saved, dict):
            raise ConfigError(
                f"--config {seen.config} must hold a JSON object, got {type(saved).__name__}"
            )
        saved.pop("seeds", None)
        config = TrainConfig.from_dict(saved)
        if config.agent != agent:
            raise ConfigError(f"--config {seen.config} is of agent {config.agent}, not of {agent}")
        run = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        values |= {**run, **config.options}
        values.pop("agent"), values.pop("options")
    if seen.preset:
        env = seen.env or values.get("env")
        if env is None:
            raise ConfigError(
                "--preset needs --env: presets differ from environment to environment"
            )
        # Where nothing is published the recipe's default holds, not what --config has.
        values = {k: v for k, v in values.items() if k not in recipe_options(agent)}
        values |= agents.preset(agent, env)
        values["batch_size"] = agents.preset_batch_size(agent, env)
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _config(agent: str, options: Any) -> TrainConfig:
    values = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    run = {f.name for f in dataclasses.fields(TrainConfig)}
    return TrainConfig(
        agent=agent,
        options={
            k: v
            for k, v in values.items()
            if k not in run
            and k not in _HERE
            # None there: an object without a name, the recipe's own default.
            and not (v is None and k in NAMED_OPTIONS)
        },
        **{k: v for k, v in values.items() if k in run},
    )


def _summary(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _list_agents() -> None:
    say("usage: flowpolicy train <agent> --env <id> [options]")
    say("       flowpolicy train --resume <run folder>")
    say("       flowpolicy train <agent> --env <id> --out <folder> --resume auto", "")
    width = max(map(len, agents.RECIPES))
    for name in sorted(agents.RECIPES):
        say(f"  {name:<{width}} {_summary(agents.RECIPES[name])}")
    say("", "flowpolicy train <agent> --help tells about the options of one agent.")


def _report(folder: RunFolder) -> None:
    for actor, seeds in read_points(folder).items():
        points = pooled(seeds)
        offline = [point for point in points if not point.env_steps]
        for last in dict.fromkeys([*offline[-1:], *points[-1:]]):
            say(_told(actor, last))
        say(*scored(folder, folder.rules(), actor))
    say(f"run folder: {folder.path}", f"learning curve: {folder.curve}")


def _told(actor: str, point: Point) -> str:
    low, high = point.band
    if point.successes is None:
        score = f"mean return {point.value:.1f} (95 % {low:.1f} to {high:.1f})"
    else:
        score = f"success {point.value:.0f} % (95 % {low:.0f} to {high:.0f} %)"
    online = f" and {point.env_steps:,} online steps" if point.env_steps else ""
    return f"{actor}: {score} over {point.episodes} episodes after {point.step:,} updates{online}"
