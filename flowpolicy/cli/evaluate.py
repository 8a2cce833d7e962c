"""``flowpolicy eval <run>``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flowpolicy.checkpoint import load_policy
from flowpolicy.checkpoint.store import Step
from flowpolicy.cli.console import parse, say, table
from flowpolicy.cli.score import scored
from flowpolicy.errors import ConfigError, require_installed
from flowpolicy.evaluate import Evaluation, evaluate, pool, record_frames
from flowpolicy.modules import Actor
from flowpolicy.run_folder import RunFolder

VIDEO_SUFFIXES = (".mp4", ".gif")
FILM_SIZE = 320
"""Width and height of a film in pixels, a multiple of 16 as video formats like it."""


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        run: Folder of a run, of one seed or of several.
        episodes: Episodes per seed of training.
        seed: Of the episodes' starts and noise.
        step: Update whose checkpoint is taken, or best; by default the newest intact one.
        actor: Which of the agent's actors; "policy" is the one to deploy.
        protocol: By whose rules: fql, fql_d4rl, gfp, gfp_d4rl or qam; by default the run's.
        env: Another environment than that of training.
        workers: Processes that run episodes; 0 runs them in this one.
        max_steps: Ends longer episodes; by default as in the run, in another environment as that
            does.
        device: Where the policy is computed.
        video: Also write a film of a few episodes, .mp4 or .gif.
        video_episodes: Episodes in the film.
        out: Also write the results to this JSON file.
    """

    run: Path
    episodes: int = 50
    seed: int = 0
    step: Step = None
    actor: str = "policy"
    protocol: str | None = None
    env: str | None = None
    workers: int = 0
    max_steps: int | None = None
    device: str = "cpu"
    video: Path | None = None
    video_episodes: int = 3
    out: Path | None = None


def command(arguments: Sequence[str]) -> None:
    """Evaluates every seed of a run and reports."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy eval",
        positional=True,
        description="Run the policy of a run folder in its environment.",
    )
    if options.video is not None:
        _require_writable(options.video)
    folder = RunFolder.open(options.run)
    if options.video is not None and _has_no_screen():
        _again_without_screen(arguments)
        return
    env = options.env or folder.config().get("env")
    if not isinstance(env, str):
        raise ConfigError(
            f"{folder.path / 'config.json'} names no environment; choose one by --env"
        )
    max_steps = options.max_steps
    if max_steps is None and options.env is None:
        max_steps = folder.config().get("max_episode_steps")
    rules = folder.rules(options.protocol)
    results: dict[str, Evaluation] = {}
    for seed in folder.seeds():
        policy = load_policy(
            seed.path, step=options.step, actor=options.actor, device=options.device
        )
        results[seed.path.resolve().name] = evaluate(
            rules.acting(policy),
            env,
            episodes=options.episodes,
            seed=options.seed,
            workers=options.workers,
            max_steps=max_steps,
        )
    everything = pool(list(results.values()))
    if options.out is not None:
        report = {name: result.to_dict() for name, result in results.items()}
        text = json.dumps({"env": env, "pooled": everything.to_dict(), "runs": report}, indent=2)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    say(*_table(results, everything))
    if options.step is None and options.env is None:
        say("", *scored(folder, rules, options.actor))
    if options.video is not None:
        first = folder.seeds()[0]
        policy = rules.acting(load_policy(first.path, step=options.step, actor=options.actor))
        say(f"video: {_film(policy, env, options, options.video, max_steps)}")


def _table(results: dict[str, Evaluation], everything: Evaluation) -> list[str]:
    rows = [_row(name, result) for name, result in results.items()]
    if len(rows) > 1:
        rows.append(_row("all", everything))
    return table(["run", "success", "95 % interval", "return", "steps", "episodes"], rows)


def _row(name: str, result: Evaluation) -> list[str]:
    success, interval = "-", "-"
    if result.success_rate is not None and result.interval is not None:
        success = f"{result.success_rate:.2f}"
        interval = "{:.2f} to {:.2f}".format(*result.interval)
    returns = f"{result.mean_return:.1f}"
    return [name, success, interval, returns, f"{result.mean_length:.0f}", str(result.episodes)]


def _require_writable(film: Path) -> None:
    """Refuses a film that could only fail after the episodes."""
    if film.suffix not in VIDEO_SUFFIXES:
        raise ConfigError(f"--video {film}: the name must end in {' or '.join(VIDEO_SUFFIXES)}")
    for package in ("imageio",) if film.suffix == ".gif" else ("imageio", "imageio_ffmpeg"):
        require_installed(f"--video {film}", package, extra="video")


def _has_no_screen() -> bool:
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")
    return sys.platform == "linux" and not any(name in os.environ for name in screens)


def _again_without_screen(arguments: Sequence[str]) -> None:
    """Runs the command in a process whose MuJoCo draws without a screen.

    MuJoCo chooses how to draw when it is imported, which TorchRL has done long before.
    """
    command = [sys.executable, "-m", "flowpolicy", "eval", *arguments]
    environment = {**os.environ, "MUJOCO_GL": "egl"}
    result = subprocess.run(command, env=environment, check=False)
    if result.returncode:
        raise SystemExit(result.returncode)


def _drawn(make_gym: Callable[..., Any], env: str) -> Any:
    try:
        return make_gym(env, render_mode="rgb_array", width=FILM_SIZE, height=FILM_SIZE)
    except TypeError:  # an environment that chooses its own size
        return make_gym(env, render_mode="rgb_array")


def _film(policy: Actor, env: str, options: Options, path: Path, max_steps: int | None) -> Path:
    import imageio.v3 as imageio

    from flowpolicy.envs import make_gym

    drawn = partial(_drawn, make_gym, env)
    frames, rate = record_frames(
        policy,
        drawn,
        episodes=options.video_episodes,
        seed=options.seed,
        max_steps=max_steps,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".gif":
            imageio.imwrite(path, frames, duration=1000 / rate, loop=0)
        else:
            imageio.imwrite(path, frames, fps=rate)
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(f"--video {path} cannot be written: {error}") from error
    return path
