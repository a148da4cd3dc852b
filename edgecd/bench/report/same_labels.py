"""The figure of simple classifiers on the same labels: what each gains or loses on the student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgecd.bench.report.classifiers import classifiers
from edgecd.bench.report.drawing import Drawing, color_of, row_axes
from edgecd.bench.report.record import Difference, Report
from edgecd.bench.report.selection import MARGIN, best_student
from edgecd.plotting.roles import role_of
from edgecd.plotting.style import FAINT, INK, title


def same_labels(report: Report) -> Iterator[Drawing]:
    """The paired difference of each rival's accuracy from the student's, on every data set."""
    student = best_student(report)
    found = [] if student is None else list(classifiers(report, student))
    if student is None or not found:
        return
    columns: dict[str, Mapping[str, Difference]] = {
        report.task: {one.row.system: one.gap for one in found}
    }
    for name in report.ood:
        gaps = {one.row.system: one.elsewhere[name] for one in found if name in one.elsewhere}
        if gaps:
            columns[name] = gaps
    rows = [one.row for one in found]
    drawn, panels = row_axes(rows, len(columns), 2.4)
    for axes, (name, column) in zip(panels, columns.items(), strict=True):
        axes.axvspan(-100 * MARGIN, 0, color=FAINT)
        axes.axvline(0, color=color_of(student), linewidth=1.6)
        for place, row in enumerate(rows):
            if (gap := column.get(row.system)) is None:
                continue
            middle, (low, high) = 100 * gap.difference, (100 * end for end in gap.ci95)
            axes.errorbar(
                middle,
                place,
                xerr=[[middle - low], [high - middle]],
                color=color_of(row),
                marker=role_of(row.role).marker,
                markersize=6,
                ecolor=INK,
                elinewidth=0.9,
                capsize=2,
            )
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("points of accuracy over the student")
        title(axes, name)
    yield Drawing(
        "same-labels",
        "Simple classifiers on the same labels",
        f"Accuracy of each minus that of `{student.system}` (the line), on the same examples, with "
        f"95% intervals: at the right of the band of {100 * MARGIN:.0f} points it does as well.",
        drawn,
    )
