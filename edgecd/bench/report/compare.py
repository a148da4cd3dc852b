"""`edgecd bench --compare A B`: two reports side by side, and which changes go beyond chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgecd.bench.report.record import Report, Row, read_report
from edgecd.bench.report.selection import row_of
from edgecd.errors import InputError
from edgecd.formats.record import to_json
from edgecd.plotting.roles import TEACHER_CACHED

# Changes of latency that are smaller than this are not flagged, however steady.
LATENCY_CHANGE = 0.10
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Change:
    """One number of a system in A and in B; `change` is relative (0.1: a tenth more), or None
    where it is not judged."""

    a: float
    b: float
    change: float | None


@dataclass(frozen=True)
class AccuracyChange(Change):
    """`change` is the difference itself, `p` that of a test for two proportions."""

    p: float
    significant: bool


@dataclass(frozen=True)
class LatencyChange(Change):
    """Milliseconds; the ratios are to the p50 of the system that both are divided by.

    `significant` is None where that is unknown.
    """

    significant: bool | None = None
    a_ratio: float | None = None
    b_ratio: float | None = None


@dataclass(frozen=True)
class ComparedRow:
    """What changed of one system; None is what one of the reports does not tell."""

    system: str
    accuracy: AccuracyChange | None
    p50_ms: LatencyChange
    peak_rss_bytes: Change | None
    disk_bytes: Change | None


@dataclass(frozen=True)
class Comparison:
    """Two reports side by side: their paths, the systems of both, and of one only."""

    a: str
    b: str
    task: str
    split: str | None
    latency_relative_to: str | None
    rows: tuple[ComparedRow, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two reports, and the system whose latency theirs are divided by (None: as they are)."""

    a: Report
    b: Report
    base: str | None


def compare_reports(path_a: Path, path_b: Path) -> Comparison:
    """What changed from A to B (report folders or files), system by system.

    Accuracy: two-proportion z test. Latency: flagged when the ranges of the rounds' p50s don't
    overlap and the medians differ by more than LATENCY_CHANGE; as a ratio to the reference
    system's of the same round where the machines or their loads differ. Raises InputError for
    reports of different tasks, splits or schemas.
    """
    a, b = read_report(path_a), read_report(path_b)
    for key, ours, theirs in (
        ("schema", a.schema, b.schema),
        ("task", a.task, b.task),
        ("split", a.split, b.split),
    ):
        if ours != theirs:
            raise InputError(
                f"{path_a} and {path_b} cannot be compared: their {key} differs "
                f"({ours} and {theirs}); run edgecd bench anew with the same options"
            )
    names_a, names_b = ([row.system for row in report.rows] for report in (a, b))
    both = [name for name in names_a if name in names_b]
    differs = list(_conditions(a, b))
    base = _base(a, b, both) if differs else None
    pair = Pair(a, b, base)
    return Comparison(
        str(path_a),
        str(path_b),
        a.task,
        a.split,
        base,
        tuple(_row(pair, name, comparable=not differs or base is not None) for name in both),
        tuple(name for name in names_a if name not in both),
        tuple(name for name in names_b if name not in both),
        tuple(_notes(pair, differs, both)),
    )


def write_comparison(comparison: Comparison) -> dict[str, Any]:
    """The comparison as a JSON value; ratios only where latency is judged by them."""
    values: dict[str, Any] = to_json(comparison)
    for row in values["rows"]:
        row["p50_ms"] = {
            name: value
            for name, value in row["p50_ms"].items()
            if value is not None or not name.endswith("_ratio")
        }
    return values


def two_proportion_p(share_a: float, count_a: int, share_b: float, count_b: int) -> float:
    """Two-sided p of the z test for two independent proportions, with the pooled variance."""
    pooled = (share_a * count_a + share_b * count_b) / (count_a + count_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / count_a + 1 / count_b))
    return math.erfc(abs(share_a - share_b) / error / math.sqrt(2)) if error else 1.0


def _conditions(a: Report, b: Report) -> Iterator[str]:
    """How the circumstances of the two measurements differ, in words.

    Machines are compared in what decides speed; versions may differ, they may be what is compared.
    """
    ours, theirs = (
        (one.machine.cpu, one.machine.cores, one.machine.isa, one.machine.gpu) for one in (a, b)
    )
    if ours != theirs:
        yield "the machines differ"
    load_a, load_b = _load(a), _load(b)
    if load_a is None or load_b is None:
        return
    if abs(load_a - load_b) > 0.5 * (a.machine.cores or 1):
        yield f"the machine's load differs ({load_a:.1f} and {load_b:.1f})"


def _load(report: Report) -> float | None:
    loads = [one.load_average_before for row in report.rows for one in row.rounds]
    known = [load for load in loads if load is not None]
    return median(known) if known else None


def _base(a: Report, b: Report, both: Sequence[str]) -> str | None:
    """The system to divide by: the reports' reference, else a prompt, that both have."""
    prompts = [row.system for row in a.rows if row.role == TEACHER_CACHED]
    for name in (a.reference, b.reference, *prompts):
        if name is not None and name in both:
            return name
    return None


def _row(pair: Pair, name: str, comparable: bool) -> ComparedRow:
    a, b = row_of(pair.a, name), row_of(pair.b, name)
    assert a is not None and b is not None  # it is in both
    return ComparedRow(
        name,
        _accuracy(a, b),
        _latency(pair, a, b, comparable),
        _size(a.peak_rss_bytes, b.peak_rss_bytes),
        _size(a.disk_bytes, b.disk_bytes),
    )


def _accuracy(a: Row, b: Row) -> AccuracyChange | None:
    if a.accuracy is None or b.accuracy is None:
        return None
    p = two_proportion_p(a.accuracy, a.examples, b.accuracy, b.examples)
    return AccuracyChange(a.accuracy, b.accuracy, b.accuracy - a.accuracy, p, p < SIGNIFICANCE)


def _latency(pair: Pair, a: Row, b: Row, comparable: bool) -> LatencyChange:
    rounds = [_rounds(report, row, pair.base) for report, row in ((pair.a, a), (pair.b, b))]
    if not comparable or a.system == pair.base:
        return LatencyChange(a.p50_ms, b.p50_ms, None)
    before, after = (median(values) for values in rounds)
    change, significant = after / before - 1, None
    if min(len(values) for values in rounds) >= 2:
        apart = max(rounds[0]) < min(rounds[1]) or max(rounds[1]) < min(rounds[0])
        significant = apart and abs(change) > LATENCY_CHANGE
    ratios = (None, None) if pair.base is None else (before, after)
    return LatencyChange(a.p50_ms, b.p50_ms, change, significant, *ratios)


def _rounds(report: Report, row: Row, base: str | None) -> list[float]:
    """A p50 a round, over the base's of the same round where there is one."""
    ours = [one.p50_ms for one in row.rounds]
    divisor = row_of(report, base)
    if divisor is None:
        return ours
    theirs = [one.p50_ms for one in divisor.rounds]
    return [one / other for one, other in zip(ours, theirs, strict=False)]


def _size(a: int | None, b: int | None) -> Change | None:
    return Change(a, b, b / a - 1) if a and b else None


def _notes(pair: Pair, differs: Sequence[str], both: Sequence[str]) -> Iterator[str]:
    a, b = pair.a, pair.b
    if differs and pair.base is not None:
        yield (
            f"{' and '.join(differs).capitalize()}: latency is judged as a ratio to "
            f"{pair.base}'s in the same round, not in ms."
        )
    elif differs:
        yield (
            f"{' and '.join(differs).capitalize()}, and no teacher's prompt is in both reports: "
            "changes of latency are not judged."
        )
    if any(len(row.rounds) < 2 for report in (a, b) for row in _some(report, both)):
        yield "Latency that was measured in one round only is not judged: its noise is unknown."
    if not both:
        yield "No system is in both reports."
        return
    versions = {
        name: (old, b.machine.versions.get(name)) for name, old in a.machine.versions.items()
    }
    if changed := [
        f"{name} {old} and {new}" for name, (old, new) in versions.items() if new and old != new
    ]:
        yield f"Versions differ: {', '.join(changed)}."
    if a.shots != b.shots:
        yield f"The prompts have {a.shots} demonstrations in A and {b.shots} in B."
    yield (
        "Accuracy is judged by a test for independent examples (two proportions, p < "
        f"{SIGNIFICANCE}). On the same examples it is too careful: a paired test would see smaller "
        "changes, but a report does not hold the answers it needs."
    )
    if len(both) > 1:
        yield (
            f"{len(both)} systems are judged one by one: by chance alone one in "
            f"{1 / SIGNIFICANCE:.0f} changes of accuracy is flagged."
        )


def _some(report: Report, names: Sequence[str]) -> list[Row]:
    return [row for row in report.rows if row.system in names]
