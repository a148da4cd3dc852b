"""Simple classifiers on the same labels next to a student: which one counts, and how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from edgecd.bench.report.record import Difference, Report, Row
from edgecd.bench.report.selection import MARGIN


class Standing(Enum):
    """How a classifier's accuracy stands to a student's: the larger the value, the better."""

    WORSE = 0
    PERHAPS_AS_GOOD = 1
    AS_GOOD = 2
    BETTER = 3


@dataclass(frozen=True)
class Simple:
    """A rival's row next to a student's.

    `gap` is its accuracy minus the student's, on the same examples; `elsewhere` the same by task
    out of domain.
    """

    row: Row
    gap: Difference
    elsewhere: Mapping[str, Difference]

    @property
    def standing(self) -> Standing:
        """By the interval of the gap: as good is at most MARGIN below, better is above nought."""
        low, _ = self.gap.ci95
        if low > 0:
            return Standing.BETTER
        if low >= -MARGIN:
            return Standing.AS_GOOD
        return Standing.PERHAPS_AS_GOOD if self.gap.difference >= -MARGIN else Standing.WORSE

    @property
    def loses_on(self) -> tuple[str, ...]:
        """The tasks out of domain on which it is less accurate for sure, by more than MARGIN."""
        return tuple(name for name, gap in self.elsewhere.items() if gap.ci95[1] < -MARGIN)


def classifiers(report: Report, student: Row) -> Iterator[Simple]:
    """Every rival that was measured beside this bundle."""
    for row in report.rows:
        if (gap := (row.minus_bundles or {}).get(student.system)) is None:
            continue
        found = {name: one.minus_bundles or {} for name, one in row.ood_accuracy.items() if one}
        yield Simple(
            row,
            gap,
            {name: one[student.system] for name, one in found.items() if student.system in one},
        )


def best_classifier(report: Report, student: Row) -> Simple | None:
    """The rival to weigh a student against; None without any.

    Of those that are as good for sure the fastest, and rather one that loses nowhere out of domain;
    else the most accurate one.
    """
    found = list(classifiers(report, student))
    good = [one for one in found if one.standing.value >= Standing.AS_GOOD.value]
    if good:
        return min(good, key=lambda one: (len(one.loses_on), one.row.p50_ms))
    return max(found, key=lambda one: one.gap.difference, default=None)


def gap_words(gap: Difference) -> str:
    """The difference and its interval."""
    low, high = gap.ci95
    return f"{gap.difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def elsewhere_words(simple: Simple) -> str:
    """Out of domain, in half a sentence; empty where nothing was measured there."""
    found = [f"{gap_words(gap)} on {name}" for name, gap in simple.elsewhere.items()]
    return f"out of domain {', '.join(found)}" if found else ""
