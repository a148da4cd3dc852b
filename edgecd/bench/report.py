"""The report for people: an answer first, then the tables, then what to know about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgecd.bench.systems import TEACHER, TEACHER_CACHED, ZERO_SHOT

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
# The loss of accuracy that a student may have and still be called as good as its teacher.
MARGIN = 0.02
_COLUMNS = (
    "system",
    "runtime",
    "shots",
    "tokens",
    "accuracy [95%]",
    "as teacher",
    "p50 ms",
    "p95 ms",
    "load ms",
    "first ms",
    "queries/s",
    "memory MB",
    "disk MB",
)
_TERMINAL_COLUMNS = ("system", "tokens", "accuracy [95%]", "p50 ms", "memory MB", "disk MB")


def verdict(rows: Sequence[Row]) -> str:
    """One or two sentences: ship the student, or keep prompting?

    Of several bundles the fastest that is as accurate as the prompt within MARGIN is the one to
    ship, else the most accurate speaks for all.
    """
    bundles = [row for row in rows if row["kind"] == "bundle"]
    prompts = {row["role"]: row for row in rows if row["kind"] == "icl"}
    prompt = prompts.get(TEACHER_CACHED)
    if prompt is None or not bundles:
        return "There is no teacher's prompt to compare with, so this is a measurement, no advice."
    good = [row for row in bundles if row["accuracy_minus_teacher"]["difference"] >= -MARGIN]
    best = min(good, key=_p50) if good else max(bundles, key=lambda row: float(row["accuracy"]))
    gap = best["accuracy_minus_teacher"]
    low, high = gap["ci95"]
    if _p50(best) >= _p50(prompt):
        answer = "Keep prompting: {0} is not faster than the prompt with its prefix cached"
    elif low >= -MARGIN:
        answer = "Ship the student: {0} answers as well as the prompt that it replaces"
    elif high < -MARGIN:
        answer = "Keep prompting where accuracy counts: {0} is less accurate than the prompt"
    elif gap["difference"] >= -MARGIN:
        answer = "Probably ship the student: {0} looks as good as the prompt that it replaces"
    else:
        answer = "Probably keep prompting: {0} looks less accurate than the prompt"
    if low < -MARGIN <= high:
        answer += f", but {best['examples']} examples are too few to be sure"
    sentence = answer.format(f"`{best['system']}`") + (
        f" (accuracy {best['accuracy']:.3f} against {prompt['accuracy']:.3f}, difference "
        f"{gap['difference']:+.3f} [{low:+.3f}, {high:+.3f}])."
    )
    return f"{sentence} {_ratios(best, prompt, prompts.get(TEACHER))}"


def markdown(report: Mapping[str, Any]) -> str:
    """report.md: made from report.json alone."""
    rows: Sequence[Row] = report["rows"]
    parts = [
        f"# Benchmark: {report['task']}",
        report["verdict"],
        _markdown_table(_COLUMNS, [_cells(row) for row in rows]),
        "Latency is of one query at a time, from text to scores; memory is the peak of a fresh "
        "process up to the last of them; `as teacher` is the share of labels equal to "
        f"{TEACHER_CACHED}'s. `queries/s` is at batch 1 unless the batch is given.",
    ]
    if against := _against(rows):
        head = ("system", "faster than naive", "than cached", "less memory", "less disk")
        parts += ["## Against the teacher's prompt", _markdown_table(head, against)]
    if report["ood"]:
        head = ("system", report["task"], *report["ood"])
        parts += ["## Out of domain", _markdown_table(head, [_ood_cells(row) for row in rows])]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(report))]
    return "\n\n".join(parts) + "\n"


def table(report: Mapping[str, Any]) -> Table:
    """The main columns for a terminal of 80 characters; the rest is in the report."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(f"Benchmark: {report['task']}"), title_justify="left")
    places = [_COLUMNS.index(name) for name in _TERMINAL_COLUMNS]
    for place in places:
        shown.add_column(_COLUMNS[place], justify="right" if place else "left", overflow="fold")
    for row in report["rows"]:
        cells = _cells(row)
        # Text: a folder's name such as [red] is not markup
        shown.add_row(*(Text(cells[place]) for place in places))
    return shown


def notes(report: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing a figure."""
    machine, rows = report["machine"], report["rows"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    memory = f", {machine['ram_bytes'] / 2**30:.0f} GiB" if machine["ram_bytes"] else ""
    lines = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores{memory}, "
        f"GPU {machine['gpu'] or 'none'}, {' '.join(machine['isa']) or 'no known instruction sets'}"
        f"; {versions}.",
        *report["notes"],
    ]
    for row in rows:
        lines.append(
            f"{row['system']}: {row['runtime']} {row['runtime_version']}, {row['precision']}, "
            f"{row['provider']}, {row['threads']} threads, {len(row['latency_ms']['raw'])} timed "
            "calls."
        )
        if check := row["naive_equals_cached"]:
            lines.append(
                f"{row['system']} takes its accuracy from {row['accuracy_from']}: on "
                f"{check['examples']} queries {check['label_mismatches']} labels differ, logits by "
                f"at most {check['max_abs_logit_diff']:.2g}."
            )
    # The row measured before leaves a load of its own, of at most all cores.
    busy = [row for row in rows if (row["load_average_before"] or 0) > 1.5 * machine["cores"]]
    if busy:
        names = ", ".join(
            f"{row['system']} (load {row['load_average_before']:.1f})" for row in busy
        )
        lines.append(
            f"The machine was busy with other work before {names}: do not trust these times."
        )
    if len({row["runtime"] for row in rows}) > 1:
        lines.append(
            "Prompts run in PyTorch and bundles in onnxruntime, so a ratio between the two "
            f"holds the runtime's part as well; {ZERO_SHOT} (PyTorch, no demonstrations) against "
            "the fp32 bundle shows how large that part is."
        )
    if any(row["calibration_inputs"] for row in rows):
        lines.append(
            "Prompts are calibrated: each label's mean log-probability over unlabelled training "
            "inputs is taken off. Without it: "
            + ", ".join(
                f"{row['system']} {row['accuracy_uncalibrated']:.3f}"
                for row in rows
                if row["calibration_inputs"] and row["accuracy_from"] is None
            )
            + "."
        )
    return lines


def _ratios(best: Row, cached: Row, naive: Row | None) -> str:
    speed = f"it takes {_p50(best):.1f} ms a query against {_p50(cached):.1f} ms with a cached "
    speed += f"prefix ({_p50(cached) / _p50(best):.1f} times as fast)"
    if naive is not None:
        speed += f" and {_p50(naive):.1f} ms naively ({_p50(naive) / _p50(best):.1f} times)"
    memory = (
        f"{_mb(best['peak_rss_bytes'])} MB of memory against {_mb(cached['peak_rss_bytes'])} MB"
    )
    disk = f"{_mb(best['disk_bytes'])} MB on disk against {_mb(cached['disk_bytes'])} MB"
    return f"On this machine {speed}, {memory}, {disk}."


def _against(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """How many times less time, memory and disk a row takes than the teacher's prompt."""
    by_role = {row["role"]: row for row in rows if row["kind"] == "icl"}
    naive, cached = by_role.get(TEACHER), by_role.get(TEACHER_CACHED)
    if cached is None:
        return []
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if row["role"] in (TEACHER, TEACHER_CACHED):
            continue
        lines.append(
            (
                str(row["system"]),
                _times(_p50(naive) if naive else None, _p50(row)),
                _times(_p50(cached), _p50(row)),
                _times(cached["peak_rss_bytes"], row["peak_rss_bytes"]),
                _times(cached["disk_bytes"], row["disk_bytes"]),
            )
        )
    return lines


def _times(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:.1f}x" if theirs and ours else "-"


def _cells(row: Row) -> tuple[str, ...]:
    batch = f" (batch {row['throughput_batch']})" if row["throughput_batch"] > 1 else ""
    return (
        str(row["system"]),
        f"{row['runtime']} {row['precision']}",
        str(row["shots_in_input"]),
        _number(row["tokens_per_query_mean"], 0),
        _interval(row["accuracy"], row["accuracy_ci95"]),
        _number(row["agreement_with_teacher"], 3),
        _number(_p50(row), 1),
        _number(row["latency_ms"]["p95"], 1),
        _number(row["load_ms"] + (row["context_ms"] or 0), 0),
        _number(row["first_call_ms"], 1),
        _number(row["throughput_per_s"], 1) + batch,
        _mb(row["peak_rss_bytes"]),
        _mb(row["disk_bytes"]),
    )


def _ood_cells(row: Row) -> tuple[str, ...]:
    return (
        str(row["system"]),
        _interval(row["accuracy"], row["accuracy_ci95"]),
        *(
            _interval(one["accuracy"], one["ci95"]) if one else "-"
            for one in row["ood_accuracy"].values()
        ),
    )


def _interval(value: float | None, ends: Sequence[float] | None) -> str:
    return "-" if value is None or ends is None else f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mb(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.0f}"


def _p50(row: Row) -> float:
    return float(row["latency_ms"]["p50"])


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
