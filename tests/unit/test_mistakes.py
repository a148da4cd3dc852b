"""Where the student errs: the page's tables by label and of mistakes, and the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecd.bench.report.markdown import markdown
from edgecd.bench.report.mistakes import (
    draw_confusions,
    label_table,
    mistake_table,
    surest_mistakes,
    with_texts,
)
from edgecd.bench.report.page import page
from edgecd.bench.report.record import Row, write_report
from edgecd.bench.report.selection import row_of
from edgecd.bench.report.write import write_reports
from edgecd.tasks.evaluation import EvalSet
from tests.reports import STUDENT, read, synthetic_report

LABELS = ["yes", "no", "<b>maybe</b>"]
MISTAKES: list[dict[str, Any]] = [
    {"example": 7, "label": "no", "answer": "yes", "probability": 0.98},
    {"example": 2, "label": "yes", "answer": "no", "probability": 0.7},
]


def report_with(mistakes: list[dict[str, Any]] = MISTAKES, labels: Any = LABELS) -> dict[str, Any]:
    report = synthetic_report(labels=list(labels))
    count = len(labels)
    confusions = np.diag(np.full(count, 30))
    confusions[0, 1], confusions[1, 0] = 4, 11
    for row in report["rows"]:
        if row["system"] == STUDENT:
            row |= {"confusions": confusions.tolist(), "mistakes": mistakes}
    return report


def test_each_label_has_its_row() -> None:
    rows = label_table(read(report_with())).rows
    assert rows[0] == ("yes", "34", "41", "0.88", "0.73", "no 4")
    assert rows[1] == ("no", "41", "34", "0.73", "0.88", "yes 11")
    assert rows[2] == ("<b>maybe</b>", "30", "30", "1.00", "1.00", "-")


def test_mistakes_show_texts_only_where_they_were_asked_for() -> None:
    table = mistake_table(read(report_with()))
    assert table.columns == ("example", "right", "answer", "probability")
    assert table.rows[0] == ("7", "no", "yes", "0.980") and "--with-texts" in table.about
    told = [{**MISTAKES[0], "text": {"a": "one\n two", "b": "x" * 900}}, MISTAKES[1]]
    table = mistake_table(read(report_with(told)))
    assert table.columns[-1] == "input" and "--with-texts" not in table.about
    assert table.rows[0][-1].startswith("a: one two | b: xxx") and len(table.rows[0][-1]) < 320
    assert table.rows[1][-1] == ""


def test_a_hostile_text_stays_text() -> None:
    told = [{**MISTAKES[0], "text": {"text": "<script>alert(1)</script> | `x`"}}]
    report = read(report_with(told))
    html, text = page(report, None), markdown(report)
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html
    assert "<script" not in text and "<b>" not in text
    assert write_report(report)["rows"][0].get("mistakes") is None  # of bundles alone


def test_a_report_that_does_not_tell_has_no_tables() -> None:
    report = read(synthetic_report())
    assert label_table(report).rows == mistake_table(report).rows == []
    assert list(draw_confusions(report)) == []
    assert "By label" not in page(report, None) and "Surest" not in markdown(report)


def test_the_surest_mistakes_come_first_and_get_their_texts() -> None:
    inputs = tuple({"text": f"text {n}"} for n in range(4))
    one = EvalSet(
        "main", "validation", inputs, ("a", "b", "a", "a"), (None,) * 4, ("a", "b"), 9, (1, 4, 6, 9)
    )
    table = np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]]))
    found = surest_mistakes(table, one, 2)
    assert [(m.example, m.label, m.answer, m.probability) for m in found] == [
        (6, "a", "b", 0.8),
        (9, "a", "b", 0.7),
    ]
    row = row_of(read(report_with()), STUDENT)
    assert isinstance(row, Row)
    told = with_texts(Row(**{**vars(row), "mistakes": found}), one)
    assert [m.text for m in told.mistakes] == [{"text": "text 2"}, {"text": "text 3"}]


@pytest.mark.parametrize(("labels", "drawn"), [(LABELS, 1), (range(40), 1), (range(41), 0)])
def test_confusions_are_drawn_where_they_can_be_seen(
    tmp_path: Path, labels: Any, drawn: int
) -> None:
    pytest.importorskip("matplotlib")
    report = read(report_with(labels=[str(label) for label in labels]))
    found = list(draw_confusions(report))
    assert [one.name for one in found] == ["confusions"] * drawn
    if len(LABELS) == len(report.labels):
        write_reports(report, tmp_path)
        svg = (tmp_path / "figures" / "confusions.svg").read_text()
        assert "&lt;b&gt;maybe" in svg and ">11</text>" in svg
