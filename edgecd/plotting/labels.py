"""Names beside the points of a figure, placed so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.plotting.style import INK, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

Point = tuple[float, float]
# Boxes [count, 4] in pixels: left, low, right, high.
Boxes = NDArray[np.float64]
# Where a label may stand: distances in points, and directions in degrees, best first.
_RADII = (7, 14, 22, 32, 44, 58, 74)
_ANGLES = (0, 180, 90, 270, 35, 325, 145, 215)
_MARKER, _LINE = 5, 2  # half of what a marker or a place on a line takes, in pixels


def label_points(
    axes: Axes,
    points: Sequence[Point],
    labels: Sequence[str],
    lines: Sequence[Sequence[Point]] = (),
    size: float = 8,
) -> None:
    """Write each label beside its point, so that none covers another or a marker, and as few as
    can be cover one of the `lines` (each a sequence of points).

    Greedy, the most crowded point first: the nearest free place wins; one that is further away
    gets a thin line to its point. Call it last: it goes by the limits that the axes then have.
    """
    figure: Any = axes.figure
    figure.draw_without_rendering()  # the layout, and so the places in pixels
    spots = np.array([axes.transData.transform(point) for point in points]).reshape(-1, 2)
    taken = np.hstack([spots - _MARKER, spots + _MARKER])
    along = [spot for line in lines for spot in _along(axes.transData.transform(line))]
    middles = np.array(along).reshape(-1, 2)
    crossed = np.hstack([middles - _LINE, middles + _LINE])
    gaps = np.abs(spots[:, None] - spots)
    crowd = ((gaps[..., 0] < 120) & (gaps[..., 1] < 40)).sum(axis=1)
    for number in np.argsort(-crowd, kind="stable"):
        note = axes.annotate(
            labels[number],
            points[number],
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=size,
            color=INK,
            ha="center",
            va="center",
            parse_math=False,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )
        note.set_in_layout(False)
        box = _place(note, spots[number], taken, crossed, figure.dpi / 72)
        taken = np.vstack([taken, box])


def _place(
    note: Annotation, spot: NDArray[np.float64], taken: Boxes, crossed: Boxes, scale: float
) -> NDArray[np.float64]:
    """Move `note` to its best place around `spot` (pixels); returns the box that it covers."""
    axes: Any = note.axes
    extent = note.get_window_extent()
    half = np.array([extent.width, extent.height]) / 2
    inside = np.array([axes.bbox.extents])
    best: tuple[float, int, NDArray[np.float64]] | None = None
    for radius in _RADII:
        for rank, angle in enumerate(_ANGLES):
            way = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            # To the side a label begins at its distance; above and below it is centred.
            offset = radius * scale * way + half * np.sign(way) * (np.abs(way) > (0.1, 0.9))
            box = np.concatenate([spot + offset - half, spot + offset + half])
            hidden = _overlap(box, taken) + 4 * half.prod() - _overlap(box, inside)
            cost = 10 * hidden + _overlap(box, crossed) / 8 + radius + rank / 10
            if best is None or cost < best[0]:
                best = (cost, radius, offset)
    assert best is not None
    _, radius, offset = best
    note.set_position(tuple(offset / scale))
    if radius > _RADII[1]:
        end = offset - [np.copysign(half[0], offset[0]) * (abs(offset[0]) > half[0]), 0]
        axes.annotate(
            "",
            note.xy,
            xytext=tuple(end / scale),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.6, "shrinkB": 4},
        ).set_in_layout(False)
    return np.concatenate([spot + offset - half, spot + offset + half])


def _along(line: NDArray[np.float64], step: float = 6) -> Iterator[NDArray[np.float64]]:
    """Points on a line, `step` apart."""
    for start, end in pairwise(line):
        yield from np.linspace(start, end, 1 + max(1, round(math.dist(start, end) / step)))


def _overlap(box: NDArray[np.float64], others: Boxes) -> float:
    """The area that a box shares with others, in all."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.clip(sides, 0, None).prod(axis=1).sum())
