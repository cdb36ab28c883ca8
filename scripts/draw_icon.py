"""Draw the module's icon: head and neck from the side, a hot primary tumour and two nodes.

Usage: python scripts/draw_icon.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

ROOT = Path(__file__).resolve().parents[1]
ICON = ROOT / "HNTumorSeg" / "Resources" / "Icons" / "HNTumorSeg.png"
EXTENSION_ICON = ROOT / "Resources" / "Icons" / "HNTumorSeg.png"
SIZE_PX = 128

# A face that looks to the left, as points of a spline in a square of 100, y upwards.
PROFILE = [
    (84, 4), (80, 22), (76, 34), (86, 48), (88, 68), (78, 88), (56, 95), (34, 90), (22, 76), (20, 64),
    (12, 53), (19, 50), (18, 45), (20, 42), (18, 37), (22, 30), (34, 28), (42, 27), (42, 16), (36, 4),
]  # fmt: skip
PRIMARY = ((38, 42), 7.5, "#e63c32")
NODES = (((58, 34), 5.5, "#3c96f0"), ((64, 21), 4.5, "#3c96f0"))


def smooth(points: list[tuple[float, float]]) -> Outline:
    """A closed curve through the middles of the points' connections."""
    middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in zip(points, points[1:] + points[:1], strict=True)]
    vertices, codes = [middles[-1]], [Outline.MOVETO]
    for corner, middle in zip(points, middles, strict=True):
        vertices += [corner, middle]
        codes += [Outline.CURVE3, Outline.CURVE3]
    return Outline(vertices, codes)


def main() -> None:
    figure = plt.figure(figsize=(1, 1), dpi=SIZE_PX)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.axis("off")
    axes.add_patch(FancyBboxPatch((5, 5), 90, 90, boxstyle="round,pad=3,rounding_size=16", fc="#1f2a38", ec="none"))
    axes.add_patch(PathPatch(smooth(PROFILE), fc="#d9dee6", ec="none"))
    for (x, y), radius, color in (PRIMARY, *NODES):
        for share, alpha in ((1.9, 0.18), (1.45, 0.3)):
            axes.add_patch(Circle((x, y), radius * share, fc=color, ec="none", alpha=alpha))
        axes.add_patch(Circle((x, y), radius, fc=color, ec="white", lw=0.8))
    for path in (ICON, EXTENSION_ICON):
        path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(ICON, dpi=SIZE_PX, transparent=True, metadata={"Software": None})
    shutil.copyfile(ICON, EXTENSION_ICON)


if __name__ == "__main__":
    main()
