"""``flowpolicy export <run>``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpolicy.checkpoint import export_policy, load_policy
from flowpolicy.checkpoint.store import Step
from flowpolicy.cli.console import parse, say
from flowpolicy.run_folder import RunFolder


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        run: Folder of a run of one seed.
        out: The file, .pt2; by default policy.pt2 in the run's folder.
        step: Update whose checkpoint is taken, or best; by default the newest intact one.
        actor: Which of the agent's actors; "policy" is the one to deploy.
        protocol: By whose rules it acts: fql, fql_d4rl, gfp, gfp_d4rl or qam; by default the run's.
    """

    run: Path
    out: Path | None = None
    step: Step = None
    actor: str = "policy"
    protocol: str | None = None


def command(arguments: Sequence[str]) -> None:
    """Writes the policy into one file and says how to play it."""
    options = parse(
        Options,
        arguments,
        program="flowpolicy export",
        positional=True,
        description="Write the policy of a run into one file that needs PyTorch alone.",
    )
    folder = RunFolder.open(options.run)
    out = options.out or folder.path / "policy.pt2"
    policy = load_policy(folder.path, step=options.step, actor=options.actor)
    policy = folder.rules(options.protocol).acting(policy)
    env = folder.config().get("env")
    out.parent.mkdir(parents=True, exist_ok=True)
    about = export_policy(policy, out, {"env": env, "actor": options.actor})
    content = out.read_bytes()
    noise = ", ".join(map(str, about["noise_shape"]))
    say(
        f"{out}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}",
        f"observation [B, {about['obs_dim']}], noise [B, {noise}] -> "
        f"action [B, {about['horizon'] * about['act_dim']}], {about['dtype']}",
        "",
        "To play it, with PyTorch alone:",
        f'  policy = torch.export.load("{out.name}").module()',
        f"  action = policy(observation, torch.randn(len(observation), {noise}))",
    )
