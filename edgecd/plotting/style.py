"""How every figure of edgecd looks, and how it is written: one PNG and one SVG, byte for byte
the same for the same data. Figures are objects of their own: no pyplot, no display."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgecd.errors import require
from edgecd.files import write_bytes
from edgecd.plotting.roles import ROLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Mapping[str, str] = {role.name: role.colour for role in ROLES}
MARKERS: Mapping[str, str] = {role.name: role.marker for role in ROLES}
INK, FAINT, PAPER = "#1f2730", "#d5dae0", "#ffffff"
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same widths everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "figure.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "edgecd",
}


def figure(
    width_in: float = 6.4, height_in: float = 4.0, columns: int = 1, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """An empty figure in the common style, and its axes row by row."""
    require("matplotlib", "report")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        drawn = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(drawn)
        return drawn, list(drawn.subplots(rows, columns, squeeze=False).flat)


def save(figure: Figure, stem: Path) -> None:
    """Write `stem`.png (200 dpi) and `stem`.svg (its text kept as text), each atomically."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    # Text that was added after `figure` returned came with matplotlib's own black.
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_color() == "black":
            text.set_color(INK)
    png, svg = io.BytesIO(), io.BytesIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # A name in letters that the font lacks shows boxes in the PNG, and is right in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out: once is enough, and the same for both
        figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    write_bytes(stem.with_name(f"{stem.name}.png"), png.getvalue())
    write_bytes(stem.with_name(f"{stem.name}.svg"), svg.getvalue())


def inline_svg(svg: str, name: str, description: str) -> str:
    """An SVG that `save` wrote, as an element of an HTML page.

    Ids get `name` in front, so that several fit into one page. Ink, grid and paper follow the
    page's variables --ink, --faint and --paper; `description` is what a screen reader says.
    """
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    element = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", element)
    for colour, variable in ((INK, "ink"), (FAINT, "faint"), (PAPER, "paper")):
        element = element.replace(colour, f"var(--{variable})")
    head, rest = element.split(">", 1)
    width = re.search(r'viewBox="0 0 ([\d.]+)', head)
    head = re.sub(r' (width|height|version|xmlns|xmlns:xlink)="[^"]*"', "", head)
    size = f' style="--width: {float(width[1]):.0f}pt"' if width else ""
    said = f' role="img" aria-label="{escape(description)}"'
    return f"{head}{size}{said}>{rest.replace('xlink:href', 'href').strip()}"


def plain(texts: Sequence[Any]) -> None:
    """Show these texts as they are: a `$` in a system's name starts no formula."""
    for text in texts:
        text.set_parse_math(False)


def log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Logarithmic, with ticks that read as numbers; call it when the data are drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    few = math.log10(high / low) <= 2.2
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A number for a tick or a label: 0.05, 20, 5k, 2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def title(axes: Axes, text: str) -> None:
    """A heading on the left, as it is."""
    axes.set_title(text, loc="left", fontsize=_STYLE["axes.titlesize"], color=INK, parse_math=False)
