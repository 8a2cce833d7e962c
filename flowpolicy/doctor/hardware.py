"""Cores, memory of the disk, GPUs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from flowpolicy.cores import cores
from flowpolicy.doctor.finding import Finding

GIGABYTE = 1e9
LITTLE = 2.0
"""Gigabytes: a run of full-size networks keeps about 0.1 in checkpoints, a data set takes 0.1 to 1,
pictures and events the rest."""


def threads() -> Iterator[Finding]:
    """PyTorch's threads against the cores that this process may use."""
    usable, used = cores(), torch.get_num_threads()
    told = f"PyTorch uses {used} of {usable:g} cores"
    if used > usable:
        yield Finding(
            "warning",
            "threads",
            f"{told}: they wait for each other",
            "set OMP_NUM_THREADS=1, or --threads 1",
        )
    elif used > 1:
        yield Finding(
            "note",
            "threads",
            f"{told}; small networks hardly gain by more than one, and runs hinder each other",
            "--threads 1, and several seeds with --jobs",
        )
    else:
        yield Finding("ok", "threads", told)


def gpus() -> Iterator[Finding]:
    """CUDA as PyTorch sees it."""
    present = shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield _gpu(index)
    elif torch.version.cuda is None and present:
        yield Finding(
            "warning",
            "cuda",
            "nvidia-smi is here, but this PyTorch was built for the CPU alone",
            "install a build with CUDA; pytorch.org tells the command",
        )
    elif torch.version.cuda is not None and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        told = "CUDA_VISIBLE_DEVICES hides every GPU that there may be"
        yield Finding("note", "cuda", told, "unset it to use one")
    elif torch.version.cuda is not None and present:
        yield Finding(
            "warning",
            "cuda",
            f"PyTorch was built for CUDA {torch.version.cuda} but finds no GPU",
            "nvidia-smi tells whether the driver works and is new enough",
        )
    else:
        yield Finding("ok", "cuda", "no GPU; everything runs on the CPU")


def _gpu(index: int) -> Finding:
    try:
        free, total = (size / GIGABYTE for size in torch.cuda.mem_get_info(index))
        name = torch.cuda.get_device_name(index)
    except RuntimeError as error:
        return Finding(
            "warning",
            f"cuda:{index}",
            f"cannot be used now: {str(error).partition(chr(10))[0]}",
            "nvidia-smi tells who has it; wait, or choose another with --device",
        )
    told = f"{name}, {free:.0f} of {total:.0f} GB free, CUDA {torch.version.cuda}"
    return Finding("ok", f"cuda:{index}", told)


def disk(folder: Path) -> Iterator[Finding]:
    """Room where runs go."""
    place = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free / GIGABYTE
    told = f"{free:.1f} GB free for runs in {folder}"
    if not os.access(place, os.W_OK):
        yield Finding("error", "disk", f"{place} may not be written", "go elsewhere, or use --out")
    elif free < LITTLE:
        yield Finding("warning", "disk", told, "make room, or use --out on another disk")
    else:
        yield Finding("ok", "disk", told)
