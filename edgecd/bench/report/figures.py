"""The figures of a report, from report.json alone; one whose data are not there is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgecd.bench.report.cost import break_even, cost_against_shots
from edgecd.bench.report.drawing import Drawing, Estimate, bars, color_of, estimates, row_axes
from edgecd.bench.report.mistakes import draw_confusions
from edgecd.bench.report.record import Report, Row
from edgecd.bench.report.same_labels import same_labels
from edgecd.bench.report.selection import answering, ordered, parts_of
from edgecd.plotting.labels import label_points
from edgecd.plotting.roles import role_of
from edgecd.plotting.style import INK, figure, log_axis, save, title

# Columns of bars that stand side by side before a new figure is begun.
_COLUMNS = 4


def draw(report: Report, folder: Path) -> list[Drawing]:
    """Write every figure that the report has data for into `folder`, as name.png and name.svg.

    Raises MissingExtra without matplotlib.
    """
    drawings = list(drawings_of(report))
    for drawing in drawings:
        save(drawing.figure, folder / drawing.name)
    return drawings


def drawings_of(report: Report) -> Iterator[Drawing]:
    """The figures in the page's order."""
    if not report.rows:
        return
    yield from _accuracy_against_latency(report)
    yield from _footprint(report)
    yield from _latency(report)
    yield from _out_of_domain(report)
    yield from _by_group(report)
    yield from draw_confusions(report)
    yield from same_labels(report)
    yield from cost_against_shots(report)
    yield from break_even(report)


def _accuracy_against_latency(report: Report) -> Iterator[Drawing]:
    found = [(row, row.accuracy) for row in ordered(report) if row.accuracy is not None]
    if len(found) < 2:
        return
    drawn, (axes,) = figure(9.2, 5.4 if len(found) < 14 else 6.4)
    for row, accuracy in found:
        _, low, high = _estimate(accuracy, row)
        axes.errorbar(
            row.p50_ms,
            accuracy,
            yerr=[[accuracy - low], [high - accuracy]],
            color=color_of(row),
            marker=role_of(row.role).marker,
            markersize=7,
            elinewidth=1,
            alpha=0.95,
        )
    axes.margins(x=0.12, y=0.06)
    log_axis(axes, "x")
    axes.set_xlabel("median latency of one query, ms (logarithmic)")
    axes.set_ylabel(f"accuracy on {report.task}", parse_math=False)
    label_points(
        axes,
        [(row.p50_ms, accuracy) for row, accuracy in found],
        [row.system for row, _ in found],
        [[(row.p50_ms, end) for end in row.accuracy_ci95 or ()] for row, _ in found],
    )
    yield Drawing(
        "accuracy-against-latency",
        "Accuracy against latency",
        f"Accuracy on {report.task} with 95% intervals against the median latency of one query: "
        "the best systems stand at the top left.",
        drawn,
    )


def _footprint(report: Report) -> Iterator[Drawing]:
    rows = [row for row in ordered(report) if row.disk_bytes or row.peak_rss_bytes]
    if not rows:
        return
    measures = {
        "on disk, MB": [row.disk_bytes for row in rows],
        "peak memory, MB": [row.peak_rss_bytes for row in rows],
    }
    drawn, columns = row_axes(rows, len(measures), 3.1)
    for axes, (heading, sizes) in zip(columns, measures.items(), strict=True):
        bars(axes, rows, [size / 1e6 if size else None for size in sizes])
        title(axes, heading)
    yield Drawing(
        "footprint",
        "Footprint",
        "Files on disk, and the peak memory of a process that loads the system and answers one "
        "query at a time: shorter is better.",
        drawn,
    )


def _latency(report: Report) -> Iterator[Drawing]:
    rows = [row for row in ordered(report) if len(row.latency_ms.raw) > 1]
    if not rows:
        return
    drawn, (axes,) = row_axes(rows, 1, 6.4)
    for place, row in enumerate(rows):
        marks = np.percentile(row.latency_ms.raw, [5, 25, 50, 75, 95, 99])
        low, first, middle, third, high, last = marks.tolist()
        color = color_of(row)
        axes.hlines(place, low, high, color=color, linewidth=1.2)
        axes.barh(place, third - first, left=first, height=0.6, color=color)
        axes.vlines(middle, place - 0.3, place + 0.3, color=INK, linewidth=1.6)
        axes.plot(last, place, marker="|", markersize=6, color=color, linestyle="none")
    log_axis(axes, "x")
    axes.set_xlabel("latency of one query, ms (logarithmic)")
    yield Drawing(
        "latency",
        "Latency of single queries",
        "Each box holds the middle half of the timed queries, with a line at the median; the "
        "whisker runs from the 5th to the 95th percentile, and the last tick is the 99th.",
        drawn,
    )


def _out_of_domain(report: Report) -> Iterator[Drawing]:
    rows = [row for row in answering(report) if any(row.ood_accuracy.values())]
    columns = {
        report.task: {
            row.system: _estimate(row.accuracy, row) for row in rows if row.accuracy is not None
        }
    }
    for name in report.ood:
        found = {row.system: row.ood_accuracy.get(name) for row in rows}
        columns[name] = {system: (one.accuracy, *one.ci95) for system, one in found.items() if one}
    if report.ood and rows:
        yield from _share_columns(
            "out-of-domain",
            "Out of domain",
            "Accuracy with 95% intervals on the task itself and on data that no system was made "
            "for.",
            rows,
            columns,
        )


def _by_group(report: Report) -> Iterator[Drawing]:
    for place, name in enumerate((None, *report.ood)):
        rows = [row for row in answering(report) if parts_of(row, name)]
        columns: dict[str, dict[str, Estimate]] = {}
        for row in rows:
            for group, one in parts_of(row, name).items():
                share = wilson_interval(one.accuracy, one.examples)
                columns.setdefault(group, {})[row.system] = (one.accuracy, *share)
        if rows:
            task = name or report.task
            yield from _share_columns(
                f"groups-{place}",
                f"{task} by group",
                f"Accuracy on each group of {task}'s examples, with 95% intervals (Wilson): a "
                "system that is good on one group and bad on its opposite follows a shortcut.",
                rows,
                columns,
            )


def _share_columns(
    name: str,
    heading: str,
    shows: str,
    rows: list[Row],
    columns: dict[str, dict[str, Estimate]],
) -> Iterator[Drawing]:
    """Bars side by side; more columns than fit go on in a second figure."""
    names = list(columns)
    figures = math.ceil(len(names) / _COLUMNS)
    wide = math.ceil(len(names) / figures)
    for part in range(1, figures + 1):
        some = names[(part - 1) * wide : part * wide]
        drawn, axes = row_axes(rows, len(some), 2.1)
        for one, column in zip(axes, some, strict=True):
            estimates(one, rows, columns[column])
            title(one, column)
        more = figures > 1
        yield Drawing(
            f"{name}-{part}" if more else name,
            f"{heading} ({part})" if more else heading,
            shows,
            drawn,
        )


def _estimate(value: float, row: Row) -> Estimate:
    low, high = row.accuracy_ci95 or (value, value)
    return value, low, high


def wilson_interval(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927); 95% by default."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return float(centre - half), float(centre + half)
