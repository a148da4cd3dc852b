"""What the figures of a report have in common: a name, what they say, and rows of bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecd.bench.report.record import Row
from edgecd.plotting.roles import role_of
from edgecd.plotting.style import INK, figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Error bars: value, low end, high end.
Estimate = tuple[float, float, float]


@dataclass(frozen=True)
class Drawing:
    """A figure; `shows` is one sentence for whoever reads or hears it."""

    name: str
    title: str
    shows: str
    figure: Figure


def color_of(row: Row) -> str:
    """The colour of the row's role."""
    return role_of(row.role).colour


def row_axes(
    rows: Sequence[Row], columns: int, column_width_in: float
) -> tuple[Figure, list[Axes]]:
    """Axes side by side, with a line for each system, the first on top."""
    longest = max(len(row.system) for row in rows)
    width = 0.6 + 0.075 * longest + column_width_in * columns
    drawn, axes = figure(width, 0.9 + 0.27 * len(rows), columns)
    for place, one in enumerate(axes):
        names = [row.system for row in rows] if place == 0 else [""] * len(rows)
        one.set_yticks(range(len(rows)), names)
        one.set_ylim(len(rows) - 0.4, -0.6)
        one.tick_params(axis="y", length=0)
        one.grid(visible=False, axis="y")
        one.spines["left"].set_visible(False)
        plain(one.get_yticklabels())
    return drawn, axes


def bars(axes: Axes, rows: Sequence[Row], values: Sequence[float | None], digits: int = 0) -> None:
    """A bar a row with its value at its end; a row without one has none."""
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is not None:
            axes.barh(place, value, height=0.66, color=color_of(row))
            _write(axes, value, place, f"{value:,.{digits}f}")
    axes.set_xlim(0, 1.16 * max((value for value in values if value is not None), default=1))
    axes.locator_params(axis="x", nbins=6)


def estimates(axes: Axes, rows: Sequence[Row], values: Mapping[str, Estimate]) -> None:
    """Bars of shares by system, with intervals and the value behind them."""
    for place, row in enumerate(rows):
        if row.system not in values:
            continue
        value, low, high = values[row.system]
        axes.barh(place, value, height=0.66, color=color_of(row))
        error = [[value - low], [high - value]]
        axes.errorbar(value, place, xerr=error, color=INK, elinewidth=0.9, capsize=2)
        _write(axes, high, place, f"{value:.2f}")
    axes.set_xlim(0, 1.14)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def _write(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(
        text, (x, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8, color=INK
    )
