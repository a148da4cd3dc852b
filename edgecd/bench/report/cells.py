"""Numbers as text, the same in every table; what was not measured is a dash."""

from __future__ import annotations

from collections.abc import Sequence

from edgecd.bench.report.record import Report, Row
from edgecd.bench.report.selection import How, against, against_main, parts_of

NONE = "-"


def number(value: float | None, digits: int) -> str:
    """With so many digits after the point."""
    return NONE if value is None else f"{value:.{digits}f}"


def interval(value: float | None, ends: Sequence[float] | None) -> str:
    """A share and its interval."""
    if value is None:
        return NONE
    return f"{value:.3f}" if ends is None else f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def accuracy(row: Row) -> str:
    """With half the width of its interval: for where there is little room."""
    ends = row.accuracy_ci95
    half = f" ±{(ends[1] - ends[0]) / 2:.3f}" if ends else ""
    return number(row.accuracy, 3) + half


def difference(report: Report, row: Row) -> str:
    """The difference from the reference's accuracy, and its interval."""
    if row.system == report.reference:
        return "reference"
    gap = row.accuracy_minus_teacher
    if gap is None:
        return NONE
    low, high = gap.ci95
    return f"{gap.difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def megabytes(size_bytes: int | None) -> str:
    """10^6 bytes."""
    return NONE if size_bytes is None else f"{size_bytes / 1e6:.0f}"


def parameters(count: int | None) -> str:
    """In millions, or in thousands below one."""
    if count is None:
        return NONE
    return f"{count / 1e6:.0f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


def times(ratio: float | None) -> str:
    """How many times as much."""
    return NONE if ratio is None else f"{ratio:.1f}x"


def runtime(row: Row) -> str:
    """What runs it, and how precisely."""
    return f"{row.runtime} {row.precision}"


def gap_to_reference(report: Report, row: Row) -> str:
    """The difference of accuracy alone."""
    if row.system == report.reference:
        return "reference"
    gap = row.accuracy_minus_teacher
    return NONE if gap is None else f"{gap.difference:+.3f}"


def faster(report: Report, row: Row, how: How, named: bool = False) -> str:
    """Times as fast as the teacher's prompt, `how`: naive or cached."""
    found = against(report, row, how)
    if found is None:
        return NONE
    return times(found.ratio) + (f" ({found.prompt.system})" if named else "")


def less_memory(report: Report, row: Row) -> str:
    """How many times less memory than the teacher's cached prompt, else its naive one."""
    found = against_main(report, row)
    return _less(found.prompt.peak_rss_bytes if found else None, row.peak_rss_bytes)


def less_disk(report: Report, row: Row) -> str:
    """How many times less on disk than the teacher's cached prompt, else its naive one."""
    found = against_main(report, row)
    return _less(found.prompt.disk_bytes if found else None, row.disk_bytes)


def _less(theirs: int | None, ours: int | None) -> str:
    return times(theirs / ours) if theirs and ours else NONE


def load_ms(row: Row) -> str:
    """Loading, and reading a prefix that is cached."""
    return NONE if row.load_ms is None else number(row.load_ms + (row.context_ms or 0), 0)


def throughput(row: Row) -> str:
    """Queries a second, with the batch where it is not 1."""
    batch = f" (batch {row.throughput_batch})" if row.throughput_batch > 1 else ""
    return number(row.throughput_per_s, 1) + batch


def uncalibrated(row: Row) -> str:
    """Accuracy as the scores came, where calibration changed them."""
    return number(row.accuracy_uncalibrated if row.calibration_inputs else None, 3)


def draws(row: Row) -> str:
    """Mean and standard deviation of accuracy over demonstration draws."""
    found = row.draws
    if not found:
        return NONE
    return f"{found.mean:.3f} ± {found.sd:.3f} ({found.count})"


def mcnemar(report: Report, row: Row) -> str:
    """The p value, and how many examples only one of the two got right."""
    gap = row.accuracy_minus_teacher
    if gap is None or gap.mcnemar_p is None or row.system == report.reference:
        return NONE
    text = p_value(gap.mcnemar_p)
    if gap.only_this_right is None:
        return text
    return f"{text} ({gap.only_this_right}:{gap.only_reference_right})"


def p_value(p: float | None) -> str:
    """A p value with the digits that matter."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def out_of_domain(row: Row, name: str) -> str:
    """Accuracy on another task, and its difference from the reference."""
    one = row.ood_accuracy.get(name)
    if not one:
        return NONE
    gap = one.minus_teacher
    return interval(one.accuracy, one.ci95) + (f" {gap.difference:+.3f}" if gap else "")


def at_length(row: Row, length: str) -> str:
    """Median latency on queries of a length, and its ratio to the first bundle's."""
    one = row.lengths.get(length)
    if one is None:
        return NONE
    return number(one.p50_ms, 1) + (f" ({one.ratio:.2f})" if one.ratio is not None else "")


def percent(share: float | None) -> str:
    """A share in percent."""
    return NONE if share is None else f"{100 * share:.1f}%"


def part(row: Row, name: str | None, group: str) -> str:
    """Accuracy on one group of examples."""
    one = parts_of(row, name).get(group)
    return f"{one.accuracy:.3f} ({one.examples})" if one else NONE
