"""Which rows of a report belong together, which of them is meant, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgecd.bench.report.record import Group, Report, Row
from edgecd.plotting.roles import PBFT, ROLES, role_of

# The loss of accuracy that a student may have and still be called as good as its teacher.
MARGIN = 0.02
# The teacher's prompt, read for each query or once.
How = Literal["naive", "cached"]


@dataclass(frozen=True)
class Against:
    """The teacher's prompt that a row is compared with, and how many times as fast the row is."""

    prompt: Row
    ratio: float


def row_of(report: Report, system: str | None) -> Row | None:
    """The row of this name."""
    return next((row for row in report.rows if row.system == system), None)


def groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Headings and their rows, by role; one that is not known stands under its own name, last."""
    headings = dict.fromkeys([role.heading for role in ROLES])
    headings |= dict.fromkeys(role_of(row.role).heading for row in rows)
    for heading in headings:
        if found := [row for row in rows if role_of(row.role).heading == heading]:
            yield heading, found


def ordered(report: Report) -> list[Row]:
    """All rows, group by group."""
    return [row for _, rows in groups(report.rows) for row in rows]


def answering(report: Report) -> list[Row]:
    """Rows with answers of their own: a prompt read anew gives those of the one read once."""
    return [row for row in ordered(report) if row.accuracy is not None and not row.accuracy_from]


def parts_of(row: Row, name: str | None) -> Mapping[str, Group]:
    """Accuracy by group of examples, out of domain (`name`) or on the task itself (None)."""
    if name is None:
        return row.groups
    one = row.ood_accuracy.get(name)
    return one.groups if one else {}


def best_student(report: Report) -> Row | None:
    """The fastest bundle that is as accurate as the reference within MARGIN, else the most
    accurate one. One that was fine-tuned only stands in where there is no student."""
    bundles = [row for row in report.rows if row.kind == "bundle" and row.accuracy is not None]
    bundles = [row for row in bundles if row.role != PBFT] or bundles
    if not bundles:
        return None
    gaps = [(row, row.accuracy_minus_teacher) for row in bundles]
    good = [row for row, gap in gaps if gap and gap.difference >= -MARGIN]
    if good:
        return min(good, key=lambda row: row.p50_ms)
    return max(bundles, key=lambda row: row.accuracy or 0.0)


def against(report: Report, row: Row, how: How) -> Against | None:
    """The teacher's prompt that this row is compared with."""
    found = row.faster_than.naive if how == "naive" else row.faster_than.cached
    prompt = row_of(report, found.system) if found else None
    return None if found is None or prompt is None else Against(prompt, found.ratio)


def against_main(report: Report, row: Row) -> Against | None:
    """The teacher's cached prompt, or its naive one where no cached one was measured."""
    return against(report, row, "cached") or against(report, row, "naive")
