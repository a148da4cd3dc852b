"""`edgecd bench --compare A B`: two reports side by side, and which changes go beyond chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgecd.bench.report.facts import Report, Row, p50_ms, read_report, row_of
from edgecd.bench.systems.choose import TEACHER_CACHED
from edgecd.errors import InputError

# Changes of latency that are smaller than this are not flagged, however steady.
LATENCY_CHANGE = 0.10
SIGNIFICANCE = 0.05
# Machines are compared in what decides speed; versions may differ, they may be what is compared.
_SPEED_KEYS = ("cpu", "cores", "isa", "gpu")


@dataclass(frozen=True)
class Pair:
    """Two reports, and the system whose latency theirs are divided by (None: as they are)."""

    a: Report
    b: Report
    base: str | None


def compare_reports(path_a: Path, path_b: Path) -> dict[str, Any]:
    """What changed from A to B (report folders or files), system by system.

    Accuracy: two-proportion z test. Latency: flagged when the ranges of the rounds' p50s don't
    overlap and the medians differ by more than LATENCY_CHANGE; as a ratio to the reference
    system's of the same round where the machines or their loads differ. Raises InputError for
    reports of different tasks, splits or schemas.
    """
    a, b = read_report(path_a), read_report(path_b)
    for key in ("schema", "task", "split"):
        if a[key] != b[key]:
            raise InputError(
                f"{path_a} and {path_b} cannot be compared: their {key} differs "
                f"({a[key]} and {b[key]}); run edgecd bench anew with the same options"
            )
    names_a, names_b = ([row["system"] for row in report["rows"]] for report in (a, b))
    both = [name for name in names_a if name in names_b]
    differs = list(_conditions(a, b))
    base = _base(a, b, both) if differs else None
    pair = Pair(a, b, base)
    return {
        "a": str(path_a),
        "b": str(path_b),
        "task": a["task"],
        "split": a["split"],
        "latency_relative_to": base,
        "rows": [_row(pair, name, comparable=not differs or base is not None) for name in both],
        "only_a": [name for name in names_a if name not in both],
        "only_b": [name for name in names_b if name not in both],
        "notes": list(_notes(pair, differs, both)),
    }


def two_proportion_p(share_a: float, count_a: int, share_b: float, count_b: int) -> float:
    """Two-sided p of the z test for two independent proportions, with the pooled variance."""
    pooled = (share_a * count_a + share_b * count_b) / (count_a + count_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / count_a + 1 / count_b))
    return math.erfc(abs(share_a - share_b) / error / math.sqrt(2)) if error else 1.0


def _conditions(a: Report, b: Report) -> Iterator[str]:
    """How the circumstances of the two measurements differ, in words."""
    for key in _SPEED_KEYS:
        if a["machine"][key] != b["machine"][key]:
            yield "the machines differ"
            break
    loads = [_load(report) for report in (a, b)]
    cores = a["machine"]["cores"] or 1
    if None not in loads and abs(loads[0] - loads[1]) > 0.5 * cores:  # type: ignore[operator]
        yield f"the machine's load differs ({loads[0]:.1f} and {loads[1]:.1f})"


def _load(report: Report) -> float | None:
    loads = [one.get("load_average_before") for row in report["rows"] for one in row["rounds"]]
    known = [load for load in loads if load is not None]
    return median(known) if known else None


def _base(a: Report, b: Report, both: Sequence[str]) -> str | None:
    """The system to divide by: the reports' reference, else a prompt, that both have."""
    prompts = [row["system"] for row in a["rows"] if row["role"] == TEACHER_CACHED]
    for name in (a["reference"], b["reference"], *prompts):
        if name in both:
            return str(name)
    return None


def _row(pair: Pair, name: str, comparable: bool) -> dict[str, Any]:
    a, b = row_of(pair.a, name), row_of(pair.b, name)
    assert a is not None and b is not None  # it is in both
    return {
        "system": name,
        "accuracy": _accuracy(a, b),
        "p50_ms": _latency(pair, a, b, comparable),
        **{key: _size(a[key], b[key]) for key in ("peak_rss_bytes", "disk_bytes")},
    }


def _accuracy(a: Row, b: Row) -> dict[str, Any] | None:
    if a["accuracy"] is None or b["accuracy"] is None:
        return None
    p = two_proportion_p(a["accuracy"], a["examples"], b["accuracy"], b["examples"])
    return {
        "a": a["accuracy"],
        "b": b["accuracy"],
        "change": b["accuracy"] - a["accuracy"],
        "p": p,
        "significant": p < SIGNIFICANCE,
    }


def _latency(pair: Pair, a: Row, b: Row, comparable: bool) -> dict[str, Any]:
    """`change` is relative (0.1: a tenth slower); `significant` is None where that is unknown."""
    found: dict[str, Any] = {"a": p50_ms(a), "b": p50_ms(b)}
    rounds = [_rounds(report, row, pair.base) for report, row in ((pair.a, a), (pair.b, b))]
    if not comparable or a["system"] == pair.base:
        return {**found, "change": None, "significant": None}
    before, after = (median(values) for values in rounds)
    change = after / before - 1
    if pair.base is not None:
        found |= {"a_ratio": before, "b_ratio": after}
    if min(len(values) for values in rounds) < 2:
        return {**found, "change": change, "significant": None}
    apart = max(rounds[0]) < min(rounds[1]) or max(rounds[1]) < min(rounds[0])
    return {**found, "change": change, "significant": apart and abs(change) > LATENCY_CHANGE}


def _rounds(report: Report, row: Row, base: str | None) -> list[float]:
    """A p50 a round, over the base's of the same round where there is one."""
    ours = [float(one["p50_ms"]) for one in row["rounds"]]
    divisor = row_of(report, base)
    if divisor is None:
        return ours
    theirs = [float(one["p50_ms"]) for one in divisor["rounds"]]
    return [one / other for one, other in zip(ours, theirs, strict=False)]


def _size(a: int | None, b: int | None) -> dict[str, Any] | None:
    return {"a": a, "b": b, "change": b / a - 1} if a and b else None


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
    if any(len(row["rounds"]) < 2 for report in (a, b) for row in _some(report, both)):
        yield "Latency that was measured in one round only is not judged: its noise is unknown."
    if not both:
        yield "No system is in both reports."
        return
    versions = {
        name: (old, b["machine"]["versions"].get(name))
        for name, old in a["machine"]["versions"].items()
    }
    if changed := [
        f"{name} {old} and {new}" for name, (old, new) in versions.items() if new and old != new
    ]:
        yield f"Versions differ: {', '.join(changed)}."
    if a["shots"] != b["shots"]:
        yield f"The prompts have {a['shots']} demonstrations in A and {b['shots']} in B."
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


def _some(report: Report, names: Sequence[str]) -> list[Mapping[str, Any]]:
    return [row for row in report["rows"] if row["system"] in names]
