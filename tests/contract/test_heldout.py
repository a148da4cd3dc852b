"""What a training says of its student: by label, beside the majority, and what makes it useless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from edgecd.cli.summary import MOST_LABELS, show_run
from edgecd.console import Console
from edgecd.formats.record import to_json
from edgecd.tasks.encoding import Encoded
from edgecd.tasks.task import Example
from edgecd.training.heldout import HeldOut, evaluate, untrained_accuracy
from edgecd.training.targets import Targets

LABELS = ("a", "b", "c")


@dataclass(frozen=True)
class Said:
    """Answers what the text of an input says."""

    labels: tuple[str, ...] = LABELS

    def encode(self, inputs: Sequence[Any]) -> list[Encoded]:
        raise NotImplementedError

    def logits(self, inputs: Sequence[Any]) -> np.ndarray:
        columns = [self.labels.index(fields["text"]) for fields in inputs]
        return np.eye(len(self.labels), dtype=np.float32)[columns]


def examples(pairs: Sequence[tuple[str, str | None]]) -> list[Example]:
    """Of (answer, right label) each."""
    return [Example(str(n), {"text": said}, label) for n, (said, label) in enumerate(pairs)]


def silent(done: int, total: int) -> None:
    pass


def found(pairs: Sequence[tuple[str, str | None]], taught: Sequence[str] | None = None) -> HeldOut:
    targets = None
    if taught is not None:
        table = np.log(
            np.eye(len(LABELS), dtype=np.float32)[[LABELS.index(x) for x in taught]] + 0.1
        )
        targets = Targets({}, table, table, (), None)
    return evaluate(Said(), examples(pairs), examples([("a", "a"), ("b", "c")]), targets, silent)


MIXED = [*[("a", "a")] * 6, *[("b", "a")] * 3, ("c", "a"), *[("b", "b")] * 4, ("a", None)]


def test_each_label_has_its_counts_recall_precision_and_confusions() -> None:
    one = found(MIXED)
    a, b, c = (one.answers.labels[name] for name in LABELS)
    assert (a.shown, a.heldout, a.answered, a.recall, a.precision) == (1, 10, 7, 0.6, 1.0)
    assert (b.shown, b.heldout, b.answered, b.recall) == (0, 4, 7, 1.0)
    assert b.precision == pytest.approx(4 / 7)
    assert (c.shown, c.heldout, c.answered, c.recall, c.precision) == (1, 0, 1, None, 0.0)
    assert one.answers.confusions == ((6, 3, 1), (0, 4, 0), (0, 0, 0))
    assert one.metrics.student_accuracy == pytest.approx(10 / 14)
    assert one.metrics.majority_accuracy == pytest.approx(10 / 14)


def test_a_student_that_is_no_better_than_the_majority_is_warned_about() -> None:
    (warning,) = found(MIXED).answers.warnings
    assert warning.startswith("the student is of no use yet: 71.4% of its answers are right")
    (warning,) = found([*[("b", "b")] * 90, *[("b", "a")] * 10]).answers.warnings
    assert "answers 'b' for 100% of the held-out inputs: 90.0%" in warning and "--shots" in warning
    # Rare labels: nearly always the same answer, and yet more than that
    assert found([*[("b", "b")] * 97, *[("a", "a")] * 3]).answers.warnings == ()


def test_without_labels_the_teacher_tells_whether_one_answer_is_right() -> None:
    same = [("b", None)] * 20
    (warning,) = found(same).answers.warnings
    assert "answers 'b' for 100% of the held-out inputs; more" in warning
    (warning,) = found(same, ["a", "b"] * 10).answers.warnings
    assert "the teacher for 50%" in warning
    assert found(same, ["b"] * 20).answers.warnings == ()
    assert found([("a", None), ("b", None)]).answers.warnings == ()


def test_the_untrained_student_is_asked_few_of_the_labelled_examples() -> None:
    many = examples([("a", None), *[("a", "a"), ("a", "b")] * 150])
    assert untrained_accuracy(Said(), many, silent) == (0.5, 200)
    assert untrained_accuracy(Said(), examples([("a", None)]), silent) is None


def shown(run: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    whole = {"peak_rss_bytes": 2_000_000_000, "timings_s": {"training": 125.0}, **run}
    show_run(Console(False), whole, Path("runs/x"), "edgecd export runs/x --int8")
    return capsys.readouterr().out


def test_the_summary_shows_the_labels_and_the_way_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    one = found(MIXED)
    text = shown({"metrics": to_json(one.metrics), "answers": to_json(one.answers)}, capsys)
    (row,) = [line for line in text.splitlines() if line.startswith("  a ")]
    assert row.split() == ["a", "1", "10", "7", "0.60", "1.00", "b", "3,", "c", "1"]
    for part in ("15 held-out examples, 14 with a label", "student 0.714", "2 min", "2.00 GB"):
        assert part in text
    assert "most frequent label 0.714" in text and "next: edgecd export runs/x --int8" in text


def test_of_many_labels_the_worst_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"label-{n}" for n in range(40)]
    labels = {
        name: {"shown": 1, "heldout": 10, "answered": 9, "recall": 1 - n / 100}
        for n, name in enumerate(names)
    }
    confusions = [[0] * 40 for _ in names]
    text = shown(
        {
            "metrics": {"heldout_examples": 400, "labelled": 400},
            "answers": {"labels": labels, "confusions": confusions},
        },
        capsys,
    )
    assert text.index("label-39") < text.index("label-38") and "label-0 " not in text
    assert f"... and {40 - MOST_LABELS} labels" in text
