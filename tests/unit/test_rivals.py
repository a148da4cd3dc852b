"""What a report says of simple classifiers on the same labels: answer, words, table, figure."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from edgecd.bench import needs
from edgecd.bench.config import BenchConfig
from edgecd.bench.others import choose_others
from edgecd.bench.report.classifiers import best_classifier
from edgecd.bench.report.markdown import markdown
from edgecd.bench.report.page import page
from edgecd.bench.report.record import parse_report, write_report
from edgecd.bench.report.rows import find_reference, make_rows
from edgecd.bench.report.selection import best_student
from edgecd.bench.report.tables import rival_table
from edgecd.bench.report.verdict import Answer, judge, sentence
from edgecd.bench.rivals import registry
from edgecd.bench.systems.given import Models
from edgecd.errors import InputError
from edgecd.formats.record import to_json
from edgecd.plotting.roles import TEACHER_CACHED
from tests.reports import STUDENT, read, small_report
from tests.unit.test_report import LABELS, eval_set, measured, system

TFIDF, EMBEDDINGS = "rival-tfidf", "rival-embeddings"


def difference(value: float, half: float = 0.015) -> dict[str, Any]:
    return {"difference": value, "ci95": [value - half, value + half], "mcnemar_p": 0.2}


def rival_row(student: dict[str, Any], name: str, gap: float, **more: Any) -> dict[str, Any]:
    """A rival that is so much more accurate than the student; `far` is its gap out of domain."""
    half, far = more.pop("half", 0.015), more.pop("far", gap)
    row = {
        **student,
        "system": name,
        "kind": "rival",
        "role": "rival",
        "runtime": "scikit-learn",
        "precision": "fp64",
        "accuracy": student["accuracy"] + gap,
        "minus_bundles": {STUDENT: difference(gap, half)},
        "ood_accuracy": {
            task: one and {**one, "minus_bundles": {STUDENT: difference(far)}}
            for task, one in student["ood_accuracy"].items()
        },
        "training": None,
    }
    row["latency_ms"] = {**student["latency_ms"], "p50": 1.5}
    row["faster_than"] = copy.deepcopy(student["faster_than"])
    return {**row, **more}


def report_with(*rivals: tuple[str, float], **more: Any) -> dict[str, Any]:
    report = small_report()
    student = next(row for row in report["rows"] if row["system"] == STUDENT)
    report["rows"] += [rival_row(student, name, gap, **more) for name, gap in rivals]
    return report


@pytest.mark.parametrize(
    ("gap", "half", "answer", "unsure"),
    [
        (0.05, 0.015, Answer.BETTER, False),
        (0.0, 0.015, Answer.AS_GOOD, False),
        (0.0, 0.05, Answer.PERHAPS, True),
        (-0.04, 0.015, Answer.RATHER_SHIP, True),  # as without any rival
    ],
)
def test_the_answer_weighs_a_simple_classifier(
    gap: float, half: float, answer: Answer, unsure: bool
) -> None:
    found = judge(read(report_with((TFIDF, gap), half=half)))
    assert (found.answer, found.unsure) == (answer, unsure)
    assert found.simple and found.simple.row.system == TFIDF
    text = sentence(found)
    assert text.count(f"{gap:+.3f} [{gap - half:+.3f}, {gap + half:+.3f}]") >= 1
    assert ("too few" in text) is unsure


def test_the_sentence_of_a_simple_classifier_says_what_it_rests_on() -> None:
    text = sentence(judge(read(report_with((TFIDF, 0.0)))))
    assert text.startswith(
        f"A simple classifier is as good: `{TFIDF}` answers as well as `{STUDENT}`, from the same "
        "labels (accuracy 0.739 against 0.739, difference +0.000 [-0.015, +0.015]). "
    )
    assert "It takes 1.5 ms a query (scikit-learn) against" in text
    assert f"`{STUDENT}` next to the prompt: accuracy 0.739 against 0.754" in text
    assert f"`{STUDENT}` takes" in text and "times as fast" in text


def test_a_classifier_that_loses_out_of_domain_is_said() -> None:
    text = sentence(judge(read(report_with((TFIDF, 0.0), far=-0.1))))
    assert "but not out of domain (hans, snli-binary)" in text
    assert "Out of domain -0.100 [-0.115, -0.085] on hans, " in text
    fine = sentence(judge(read(report_with((TFIDF, 0.0), far=-0.01))))
    assert "but not out of domain" not in fine and "-0.010 [-0.025, +0.005] on hans" in fine


def test_a_worse_classifier_changes_no_answer_and_is_told() -> None:
    plain = sentence(judge(read(small_report())))
    text = sentence(judge(read(report_with((TFIDF, -0.2), (EMBEDDINGS, -0.08), far=-0.03))))
    assert text.startswith(plain)
    assert text.endswith(
        f"The best simple classifier on the same labels, `{EMBEDDINGS}`, has accuracy 0.659, "
        "difference from the student -0.080 [-0.095, -0.065]; out of domain -0.030 "
        "[-0.045, -0.015] on hans, -0.030 [-0.045, -0.015] on snli-binary."
    )


def test_a_prompt_is_kept_where_the_classifier_does_not_match_it_either() -> None:
    report = report_with((TFIDF, 0.0))
    for row in report["rows"]:
        if row["system"] in (STUDENT, TFIDF):
            row["accuracy_minus_teacher"] = difference(-0.2)
    found = judge(read(report))
    assert found.answer is Answer.KEEP
    assert f"`{TFIDF}`, has accuracy" in sentence(found)
    report["rows"][-1]["accuracy_minus_teacher"] = difference(0.0)
    assert judge(read(report)).answer is Answer.AS_GOOD
    report["rows"][-1]["faster_than"]["cached"]["ratio"] = 0.5
    assert judge(read(report)).answer is Answer.KEEP


def test_without_a_prompt_a_classifier_is_still_weighed() -> None:
    report = report_with((TFIDF, 0.0), reference=None)
    report["rows"] = [row for row in report["rows"] if row["kind"] != "icl"]
    report["reference"] = None
    for row in report["rows"]:
        row["accuracy_minus_teacher"], row["faster_than"] = None, {"naive": None, "cached": None}
    text = sentence(judge(read(report)))
    assert text.startswith("A simple classifier is as good") and "prompt" not in text
    report["rows"][-1]["minus_bundles"] = {STUDENT: difference(-0.3)}
    text = sentence(judge(read(report)))
    assert "no advice" in text and "difference from the student -0.300" in text


def test_of_classifiers_that_are_as_good_the_fastest_that_loses_nowhere_counts() -> None:
    report = report_with((TFIDF, 0.0), (EMBEDDINGS, 0.01), ("rival-encoder", 0.02))
    times = {TFIDF: 1.0, EMBEDDINGS: 8.0, "rival-encoder": 5.0}
    for row in report["rows"]:
        if row["system"] in times:
            row["latency_ms"]["p50"] = times[row["system"]]

    def chosen() -> str:
        found = read(report)
        student = best_student(found)
        assert student is not None
        simple = best_classifier(found, student)
        assert simple is not None
        return simple.row.system

    assert chosen() == TFIDF
    report["rows"][-3]["ood_accuracy"]["hans"]["minus_bundles"][STUDENT] = difference(-0.3)
    assert chosen() == "rival-encoder"


def test_rows_hold_the_paired_difference_from_every_bundle() -> None:
    found = [
        measured(system(TEACHER_CACHED), 10, 100, 100.0),
        measured(system("rival", "rival", TFIDF), 30, 100, 1.0),
        measured(system("student", "bundle", "one"), 20, 100, 10.0),
        measured(system("student", "bundle", "two"), 40, 100, 10.0),
    ]
    rows = make_rows(found, [eval_set(100)], LABELS, find_reference(found))
    gaps = rows[1].minus_bundles or {}
    assert {name: gap.difference for name, gap in gaps.items()} == pytest.approx(
        {"one": -0.1, "two": 0.1}
    )
    assert (gaps["one"].only_this_right, gaps["one"].only_reference_right) == (0, 10)
    written = [to_json(row) for row in rows]
    assert ["minus_bundles" in row for row in written] == [False, True, False, False]


def test_reports_show_rivals_and_those_without_say_nothing_of_them() -> None:
    report = read(report_with((TFIDF, -0.1)))
    assert parse_report(write_report(report)) == report
    for text in (markdown(report), page(report, None)):
        assert "Next to simple classifiers on the same labels" in text
        assert "-0.100 [-0.115, -0.085]" in text and TFIDF in text
    assert "Simple classifiers on the same labels" in page(report, None)
    for text in (markdown(read(small_report())), page(read(small_report()), None)):
        assert "imple classifier" not in text and "rival" not in text
    assert rival_table(read(small_report())).rows == []


def test_the_figure_shows_every_rival_on_every_data_set(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from edgecd.bench.report.same_labels import same_labels
    from edgecd.plotting.style import save

    (drawing,) = same_labels(read(report_with((TFIDF, -0.1), (EMBEDDINGS, 0.0))))
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == [
        "mnli-binary",
        "hans",
        "snli-binary",
    ]
    assert STUDENT in drawing.shows
    save(drawing.figure, tmp_path / "same-labels")
    assert TFIDF in (tmp_path / "same-labels.svg").read_text()
    assert list(same_labels(read(small_report()))) == []


def asked(rivals: tuple[str, ...] | None, labels: int = 8, **more: Any) -> tuple[Any, list[str]]:
    config = BenchConfig("mnli", rivals=rivals, **more)
    return choose_others(config, None, Models(None, "the-student"), labels)


def hide(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    monkeypatch.setattr(needs, "is_there", lambda module: module not in missing)


def test_rivals_by_default_are_all_but_setfit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch)
    encoder = "some/encoder"
    usual = ("majority", "tfidf", "embeddings", "encoder")
    assert asked(None, encoder=encoder)[0].rivals == usual
    assert asked(("all",), encoder=encoder)[0].rivals == registry.NAMES == (*usual, "setfit")
    assert asked((), encoder=encoder) == (asked(())[0].__class__(encoder=encoder), [])
    others, absent = asked(None)
    assert others.rivals == ("majority", "tfidf")
    assert absent == [
        "embeddings and encoder were left out: they start from a sentence encoder, which the "
        "student is not: give one with --encoder."
    ]
    assert asked(None, labels=0) == (others.__class__(), [])


def test_what_rivals_need_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "sklearn", "torch", "setfit")
    assert registry.missing_reason("tfidf") == (
        "tfidf needs scikit-learn: pip install 'edgecd[rivals]'"
    )
    assert "scikit-learn and torch" in registry.missing_reason("embeddings")
    assert registry.missing_reason("encoder").endswith("pip install 'edgecd[train]'")
    assert registry.missing_reason("setfit").endswith("pip install 'edgecd[train,rivals]' setfit")
    others, absent = asked(("all",))
    assert others.rivals == ("majority",) and len(absent) == 4


def test_wrong_rivals_and_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown rival 'tf-idf'.*did you mean 'tfidf'"):
        asked(("tf-idf",))
    with pytest.raises(InputError, match="give --shots, or --rivals none"):
        asked(("majority",), labels=0)
    with pytest.raises(InputError, match=r"--encoder .*/nowhere: no such folder"):
        asked(None, encoder=str(tmp_path / "nowhere"))


def test_a_rival_that_was_compared_with_another_bundle_is_not_weighed() -> None:
    report = report_with((TFIDF, 0.0))
    report["rows"][-1]["minus_bundles"] = {"another": difference(0.3)}
    found = judge(read(report))
    assert found.simple is None and found.answer is judge(read(small_report())).answer
