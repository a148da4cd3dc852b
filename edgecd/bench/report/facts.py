"""What a report says, read in one place: older reports lack keys, which get their defaults here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.bench.systems.choose import (
    SAME_SIZE,
    SAME_SIZE_CACHED,
    TEACHER,
    TEACHER_CACHED,
    ZERO_SHOT,
)
from edgecd.errors import InputError
from edgecd.files import read_json

Report = Mapping[str, Any]
Row = Mapping[str, Any]
REPORT = "report.json"
# The loss of accuracy that a student may have and still be called as good as its teacher.
MARGIN = 0.02
# Headings of the rows, in the order of the tables and figures.
GROUPS: Mapping[str, Sequence[str]] = {
    "The teacher's prompt": (TEACHER, TEACHER_CACHED),
    "Students": ("student",),
    "A frozen model with a context": ("mend", "prompt-tuning", "context"),
    "Fine-tuned on the demonstrations": ("pbft",),
    "A model of the student's size, prompted": (SAME_SIZE, SAME_SIZE_CACHED, ZERO_SHOT),
    "Other runtimes": ("peer",),
}
_REPORT_DEFAULTS: Mapping[str, Any] = {
    "split": None,
    "ood": (),
    "shots": None,
    "notes": (),
    "rounds": 1,
    "noise": None,
    "reference": None,
    "verdict": "",
}
_MACHINE_DEFAULTS: Mapping[str, Any] = {
    "cpu": "unknown processor",
    "cores": None,
    "isa": (),
    "ram_bytes": None,
    "gpu": None,
    "versions": {},
}
_ROW_DEFAULTS: Mapping[str, Any] = {
    "runtime_version": "",
    "provider": None,
    "threads": None,
    "shots_in_input": 0,
    "tokens_per_query_mean": None,
    "disk_bytes": None,
    "peak_rss_bytes": None,
    "load_ms": None,
    "context_ms": None,
    "first_call_ms": None,
    "throughput_per_s": None,
    "throughput_batch": 1,
    "load_average_before": None,
    "accuracy": None,
    "accuracy_ci95": None,
    "accuracy_uncalibrated": None,
    "macro_f1": None,
    "ece": None,
    "examples": 0,
    "calibration_inputs": 0,
    "agreement_with_teacher": None,
    "accuracy_from": None,
    "naive_equals_cached": None,
    "p50_spread": None,
    "draws": None,
    "groups": {},
    "ood_accuracy": {},
    "energy_j_per_query": None,
    "training": None,
}
_DIFFERENCE_DEFAULTS: Mapping[str, Any] = {
    "mcnemar_p": None,
    "only_this_right": None,
    "only_reference_right": None,
}


def read_report(path: Path) -> Report:
    """A complete report from its folder or file; InputError for anything else."""
    file = path / REPORT if path.is_dir() else path
    found = read_json(file)
    if not isinstance(found, dict) or not {"schema", "task", "rows", "machine"} <= found.keys():
        raise InputError(f"{file}: not a report of edgecd bench")
    return complete(found)


def complete(report: Report) -> Report:
    """The report with every key that its readers look up; what is missing is None or empty.

    `faster_than` of an older report is worked out from the p50s of the prompts of the most
    demonstrations, on the row's runtime and precision where there is one.
    """
    full = {**_REPORT_DEFAULTS, **_known(report)}
    full["machine"] = {**_MACHINE_DEFAULTS, **_known(report["machine"])}
    full["rows"] = [_row(row) for row in report["rows"]]
    if full["reference"] is None and any(row["accuracy_minus_teacher"] for row in full["rows"]):
        full["reference"] = next(
            (row["system"] for row in full["rows"] if row["role"] == TEACHER_CACHED), None
        )
    for row in full["rows"]:
        if not row.get("faster_than"):
            row["faster_than"] = {
                "naive": _ratio(full["rows"], row, TEACHER),
                "cached": _ratio(full["rows"], row, TEACHER_CACHED),
            }
    return full


def row_of(report: Report, system: str | None) -> Row | None:
    """The row of this name."""
    rows: Sequence[Row] = report["rows"]
    return next((row for row in rows if row["system"] == system), None)


def groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Headings and their rows; a role of no known group stands under its own name."""
    known = [role for roles in GROUPS.values() for role in roles]
    others = {row["role"]: (row["role"],) for row in rows if row["role"] not in known}
    for heading, roles in {**GROUPS, **others}.items():
        if found := [row for row in rows if row["role"] in roles]:
            yield heading, found


def ordered(report: Report) -> list[Row]:
    """All rows, group by group."""
    return [row for _, rows in groups(report["rows"]) for row in rows]


def answering(report: Report) -> list[Row]:
    """Rows with answers of their own: a prompt read anew gives those of the one read once."""
    return [
        row
        for row in ordered(report)
        if row["accuracy"] is not None and row["accuracy_from"] is None
    ]


def parts_of(row: Row, name: str | None) -> Mapping[str, Any]:
    """Accuracy by group of examples, out of domain (`name`) or on the task itself (None)."""
    found: Mapping[str, Any] = (
        row["groups"] if name is None else (row["ood_accuracy"].get(name) or {}).get("groups", {})
    )
    return found


def best_student(report: Report) -> Row | None:
    """The fastest bundle that is as accurate as the reference within MARGIN, else the most
    accurate one. One that was fine-tuned only stands in where there is no student."""
    rows: Sequence[Row] = report["rows"]
    bundles = [row for row in rows if row["kind"] == "bundle" and row["accuracy"] is not None]
    bundles = [row for row in bundles if row["role"] != "pbft"] or bundles
    if not bundles:
        return None
    gaps = [(row, row["accuracy_minus_teacher"]) for row in bundles]
    good = [row for row, gap in gaps if gap and gap["difference"] >= -MARGIN]
    return min(good, key=p50_ms) if good else max(bundles, key=lambda row: float(row["accuracy"]))


def prompt_of(report: Report, row: Row, how: str) -> tuple[Row, float] | None:
    """The teacher's prompt that this row is compared with (`how`: naive or cached), and how many
    times as fast the row is."""
    pair = row["faster_than"][how]
    prompt = row_of(report, pair["system"]) if pair else None
    return None if prompt is None else (prompt, float(pair["ratio"]))


def p50_ms(row: Row) -> float:
    """Median latency of one query."""
    return float(row["latency_ms"]["p50"])


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _row(row: Row) -> dict[str, Any]:
    full = {**_ROW_DEFAULTS, **_known(row)}
    full["latency_ms"] = {"p95": None, "p99": None, "raw": [], **row["latency_ms"]}
    full["accuracy_minus_teacher"] = _difference(row.get("accuracy_minus_teacher"))
    full["ood_accuracy"] = {
        name: one
        and {
            "groups": {},
            **_known(one),
            "minus_teacher": _difference(one.get("minus_teacher")),
        }
        for name, one in full["ood_accuracy"].items()
    }
    if not full.get("rounds"):
        once = ("load_ms", "first_call_ms", "load_average_before")
        full["rounds"] = [{"p50_ms": p50_ms(full), **{name: full[name] for name in once}}]
    if full["load_average_before"] is None:
        loads = [one.get("load_average_before") or 0 for one in full["rounds"]]
        full["load_average_before"] = max(loads) or None
    return full


def _difference(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {**_DIFFERENCE_DEFAULTS, **values} if values else None


def _ratio(rows: Sequence[Row], row: Row, role: str) -> dict[str, Any] | None:
    prompts = [one for one in rows if one["role"] == role]
    if not prompts or row["role"] in (TEACHER, TEACHER_CACHED):
        return None
    prompt = max(
        prompts,
        key=lambda one: (
            one["shots_in_input"],
            one["runtime"] == row["runtime"],
            one["precision"] == row["precision"],
        ),
    )
    return {"system": prompt["system"], "ratio": p50_ms(prompt) / p50_ms(row)}
