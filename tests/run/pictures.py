"""Looks into a PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np


@dataclass(frozen=True)
class Picture:
    pixels: np.ndarray

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def has_color(self, color: str, at_least: int = 50) -> bool:
        wanted = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return int((np.abs(self.pixels - wanted).max(-1) < 0.01).sum()) >= at_least


def read_picture(path: Path) -> Picture:
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return Picture(matplotlib.image.imread(path)[..., :3])
