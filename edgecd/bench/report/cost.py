"""Figures of cost: over the number of demonstrations, and over the number of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgecd.bench.report.drawing import Drawing, color_of
from edgecd.bench.report.record import Report, Row
from edgecd.bench.report.selection import against, best_student
from edgecd.plotting.labels import Point, label_points
from edgecd.plotting.roles import role_of
from edgecd.plotting.style import INK, figure, log_axis, short


def cost_against_shots(report: Report) -> Iterator[Drawing]:
    """p50 of the prompts that were measured with several numbers of demonstrations."""
    lines = _lines(report.rows)
    if not lines:
        return
    drawn, (axes,) = figure(8.4, 4.6)
    ends: list[Point] = []
    paths: list[list[Point]] = []
    for rows in lines:
        shots = [row.shots_in_input for row in rows]
        times = [row.p50_ms for row in rows]
        axes.plot(
            shots,
            times,
            color=color_of(rows[0]),
            marker=role_of(rows[0].role).marker,
            linestyle="--" if role_of(rows[0].role).cached else "-",
            linewidth=1.6,
        )
        paths.append(list(zip(shots, times, strict=True)))
        ends.append(paths[-1][-1])
    labels = [_line_name(rows[0], lines) for rows in lines]
    most = max(x for x, _ in ends)
    student = best_student(report)
    if student is not None:
        axes.axhline(student.p50_ms, color=color_of(student), linewidth=1.6)
        ends.append((most, student.p50_ms))
        paths.append([(0, student.p50_ms), (1.5 * most, student.p50_ms)])
        labels.append(f"{student.system}, no demonstrations")
    axes.set_xlim(-0.03 * most, 1.5 * most)
    axes.set_xticks(sorted({row.shots_in_input for rows in lines for row in rows}))
    log_axis(axes, "y")
    axes.set_xlabel("demonstrations in the input")
    axes.set_ylabel("median latency of one query, ms (logarithmic)")
    label_points(axes, ends, labels, paths)
    yield Drawing(
        "cost-against-shots",
        "Latency against demonstrations",
        "A prompt that is read each time costs more with every demonstration, a cached one a "
        "little more, and a student that sees none always the same.",
        drawn,
    )


def break_even(report: Report) -> Iterator[Drawing]:
    """Compute seconds over queries: a student's training pays off where the lines cross."""
    student = best_student(report)
    if student is None or student.training is None:
        return
    compared = (
        (against(report, student, "naive"), "a prompt read each time"),
        (against(report, student, "cached"), "a cached prompt"),
    )
    prompts = [
        (found.prompt, words)
        for found, words in compared
        if found and found.prompt.p50_ms > student.p50_ms
    ]
    if not prompts:
        return
    training_s = student.training.seconds
    crossings = [training_s / (prompt.p50_ms - student.p50_ms) * 1e3 for prompt, _ in prompts]
    last = 10 ** np.ceil(np.log10(max(crossings)) + 0.7)
    queries = np.geomspace(last / 10 ** np.ceil(np.log10(last / min(crossings)) + 1.3), last, 200)
    drawn, (axes,) = figure(8.4, 4.6)
    student_s = training_s + queries * student.p50_ms / 1e3
    axes.plot(queries, student_s, color=color_of(student), linewidth=2)
    paths = [list(zip(queries, student_s, strict=True))]
    points, labels = [paths[0][20]], [f"{student.system}, training included"]
    for (prompt, words), crossing in zip(prompts, crossings, strict=True):
        cost_s = queries * prompt.p50_ms / 1e3
        dashes = "--" if role_of(prompt.role).cached else "-"
        axes.plot(queries, cost_s, color=color_of(prompt), linewidth=2, linestyle=dashes)
        paths.append(list(zip(queries, cost_s, strict=True)))
        points += [paths[-1][60], (crossing, crossing * prompt.p50_ms / 1e3)]
        axes.plot(*points[-1], marker="o", color=INK, markersize=5)
        labels += [words, f"{crossing:,.0f} queries"]
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set_xlabel("queries answered (logarithmic)")
    axes.set_ylabel("compute so far, seconds (logarithmic)")
    label_points(axes, points, labels, paths)
    yield Drawing(
        "break-even",
        "When the training has paid for itself",
        f"Training took {short(training_s)} s; it is won back after "
        + " and ".join(
            f"{crossing:,.0f} queries against {words}"
            for (_, words), crossing in zip(prompts, crossings, strict=True)
        )
        + " (queries one at a time on this machine, at their median latency).",
        drawn,
    )


def _lines(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that differ in the number of demonstrations only, where there are several."""
    series: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if role_of(row.role).words:
            key = (row.role, row.runtime, row.precision)
            series.setdefault(key, []).append(row)
    lines = [sorted(some, key=lambda row: row.shots_in_input) for some in series.values()]
    return [some for some in lines if len({row.shots_in_input for row in some}) > 1]


def _line_name(row: Row, lines: Sequence[Sequence[Row]]) -> str:
    alike = [some for some in lines if some[0].role == row.role]
    name = role_of(row.role).words
    return f"{name} ({row.runtime} {row.precision})" if len(alike) > 1 else name
