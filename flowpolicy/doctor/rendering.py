"""Whether MuJoCo can draw here: one real frame, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from flowpolicy.doctor.finding import Finding, Level

FRAME = """
import mujoco
world = "<mujoco><worldbody><light pos='0 0 3'/><geom size='.3'/></worldbody></mujoco>"
model = mujoco.MjModel.from_xml_string(world)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    print("pixels", int(renderer.render().max()))
"""
"""Draws a ball; a frame that is black throughout was not drawn."""

BACKENDS = ("egl", "osmesa")
"""Those that need no screen."""

PATIENCE = 60
"""Seconds: a frame takes about one; drivers that hang do so for ever."""


def mujoco_draws() -> Iterator[Finding]:
    """The backend that is set, or one that could be."""
    if importlib.util.find_spec("mujoco") is None:
        return
    chosen = os.environ.get("MUJOCO_GL", "")
    subject = "drawing"
    if chosen in ("disable", "off", "false", "0"):
        told = f"MUJOCO_GL={chosen} switches it off; training and evaluating need none"
        yield Finding("note", subject, told, "unset it for videos")
        return
    reason = failure({"MUJOCO_GL": chosen})
    named = f"MUJOCO_GL={chosen}" if chosen else "MUJOCO_GL unset"
    if reason is None:
        yield Finding("ok", subject, f"MuJoCo draws a frame with {named}")
        return
    working = next((each for each in BACKENDS if failure({"MUJOCO_GL": each}) is None), None)
    told = f"MuJoCo cannot draw with {named} ({reason}); training and evaluating need not"
    level: Level = "warning" if chosen else "note"
    if working is not None:
        yield Finding(level, subject, told, f"for videos set MUJOCO_GL={working}, which works here")
        return
    yield Finding(
        level,
        subject,
        f"{told}; neither does {' nor '.join(BACKENDS)}",
        "for videos install Mesa (apt-get install libegl1 libgl1-mesa-dri) and set MUJOCO_GL=egl",
    )


def failure(environment: Mapping[str, str]) -> str | None:
    """Why no frame comes with this environment; ``None`` where one does."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", FRAME],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no frame within {PATIENCE} seconds"
    drawn = result.stdout.rpartition("pixels ")[2].split()
    if drawn[:1] and drawn[0].isdigit():
        return None if int(drawn[0]) else "the frame is black"
    lines = [line for line in result.stderr.splitlines() if "Error" in line]
    return (lines or ["no reason given"])[-1].strip()[:120]
