"""What `train` shows of a run at its end: how good the student is, and where it errs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecd.console import Console, duration

# Of more labels those are shown that are found least often.
MOST_LABELS = 25
_MISTAKES = 3


def show_run(console: Console, run: Mapping[str, Any], out: Path, next_step: str) -> None:
    """The numbers of a run.json, by label where it has a student, and the way on."""
    found = run.get("metrics", {})
    if answers := run.get("answers"):
        rows = list(_by_label(answers))
        title = f"{found['heldout_examples']} held-out examples, {found['labelled']} with a label"
        console.table(title, rows[:MOST_LABELS])
        if len(rows) > MOST_LABELS:
            console.show(f"... and {len(rows) - MOST_LABELS} labels that are found more often")
    console.listing({**dict(_numbers(found)), **dict(_costs(run))})
    console.show(f"run: {out}", f"next: {next_step}")


def _by_label(answers: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A row for each label, in the task's order; of many, those found least often first."""
    names = list(answers["labels"])
    order = list(range(len(names)))
    if len(names) > MOST_LABELS:
        order.sort(key=lambda place: _sortable(answers["labels"][names[place]].get("recall")))
    for place in order:
        one = answers["labels"][names[place]]
        yield {
            "label": names[place],
            "shown": str(one["shown"]),
            "held out": str(one["heldout"]),
            "answered": str(one["answered"]),
            "recall": _share(one.get("recall")),
            "precision": _share(one.get("precision")),
            "taken for": _taken_for(names, answers["confusions"][place], place),
        }


def _taken_for(names: Sequence[str], counts: Sequence[int], place: int) -> str:
    """The wrong answers that the label's inputs got most."""
    wrong = [(count, names[n]) for n, count in enumerate(counts) if count and n != place]
    wrong.sort(key=lambda one: -one[0])
    more = ", ..." if len(wrong) > _MISTAKES else ""
    return ", ".join(f"{name} {count}" for count, name in wrong[:_MISTAKES]) + more


def _numbers(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    accuracies = {
        "student": found.get("student_accuracy"),
        "teacher": found.get("teacher_accuracy"),
        "most frequent label": found.get("majority_accuracy"),
        f"untrained student (first {found.get('untrained_examples')})": found.get(
            "untrained_accuracy"
        ),
    }
    told = {name: f"{value:.3f}" for name, value in accuracies.items() if value is not None}
    if told:
        yield "accuracy", "\n".join(f"{name} {value}" for name, value in told.items())
    said = ("accuracy", "untrained_examples", "heldout_examples", "labelled")
    for name, value in found.items():
        if not name.endswith(said):
            yield name, f"{value:.3f}" if isinstance(value, float) else str(value)


def _costs(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "memory", f"{run['peak_rss_bytes'] / 1e9:.2f} GB at most"
    for phase, spent_s in run["timings_s"].items():
        yield f"time, {phase}", duration(spent_s)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sortable(recall: float | None) -> float:
    return 2.0 if recall is None else recall
