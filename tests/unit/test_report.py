"""The report's first sentence follows from its figures, and its tables hold together."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgecd.bench.data import EvalSet
from edgecd.bench.report import markdown, table, verdict
from edgecd.bench.rows import compare, make_rows
from edgecd.bench.systems import (
    BASELINES,
    TEACHER,
    TEACHER_CACHED,
    Models,
    System,
    list_systems,
)
from edgecd.errors import InputError
from edgecd.machine import fast_dtype

LABELS = ("yes", "no")
MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "isa": ["avx2"],
    "ram_bytes": 2**33,
    "gpu": None,
    "os": "Linux x86_64",
    "versions": {"python": "3.11"},
}


def system(role: str, kind: str = "icl", name: str | None = None) -> System:
    prompted = kind == "icl" and "zero" not in role
    return System(name or role, kind, role, "model", None, prompted, role.endswith("cached"))  # type: ignore[arg-type]


def result(wrong: int, of: int, p50_ms: float, evaluated: bool = True, **more: Any) -> Any:
    """What a process measured: the first `wrong` of `of` examples (all `yes`) answered `no`."""
    scores = [[0.0, 2.0]] * wrong + [[2.0, 0.0]] * (of - wrong)
    return {
        "runtime": "torch",
        "runtime_version": "2",
        "provider": "cpu",
        "precision": "fp32",
        "threads": 1,
        "labels": ["yes", "no"],
        "parameters": 10,
        "disk_bytes": 4_000_000,
        "context_tokens": 0,
        "import_ms": 1.0,
        "load_ms": 1.0,
        "context_ms": None,
        "first_call_ms": p50_ms,
        "latency_ms": [p50_ms] * 3,
        "timed_scores": scores[:3],
        "peak_rss_bytes": 8_000_000,
        "peak_gpu_bytes": None,
        "scores": {"main": scores} if evaluated else None,
        "calibration": None,
        "throughput_per_s": 50.0 if evaluated else None,
        "batch_size": 8 if evaluated else 1,
        "tokens_per_query_mean": 20.0,
        "modules": [],
        **more,
    }


def rows_of(
    student_wrong: int, of: int, student_ms: float = 10.0, prompt_ms: float = 100.0
) -> list[dict[str, Any]]:
    """A teacher with a tenth of its answers wrong, and a student."""
    systems = [system(TEACHER), system(TEACHER_CACHED), system("student", "bundle")]
    results = {
        TEACHER: result(0, of, 10 * prompt_ms, evaluated=False),
        TEACHER_CACHED: result(of // 10, of, prompt_ms),
        "student": result(student_wrong, of, student_ms, runtime="onnxruntime"),
    }
    main = EvalSet("main", "validation", ({},) * of, ("yes",) * of, of)
    return make_rows(systems, results, [main], LABELS, shots=4)


def report_of(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    base = {"schema": 1, "task": "main", "ood": [], "machine": MACHINE, "notes": ["a note"]}
    return {**base, "verdict": verdict(rows), "rows": rows, **more}


@pytest.mark.parametrize(
    ("wrong", "of", "student_ms", "answer"),
    [
        (100, 1000, 10.0, r"^Ship the student: `student`"),
        (300, 1000, 10.0, r"^Keep prompting where accuracy counts"),
        (100, 1000, 150.0, r"^Keep prompting: `student` is not faster"),
        (7, 50, 10.0, r"^Probably keep prompting: .* 50 examples are too few"),
        (5, 50, 10.0, r"^Ship the student"),
    ],
)
def test_the_first_sentence_answers(wrong: int, of: int, student_ms: float, answer: str) -> None:
    assert re.search(answer, verdict(rows_of(wrong, of, student_ms)))


def test_as_good_on_average_but_on_other_examples_is_not_settled() -> None:
    rows = rows_of(10, 100)
    rows[-1]["accuracy_minus_teacher"] = {"difference": -0.01, "ci95": [-0.08, 0.06]}
    assert re.search(r"^Probably ship .*, but 100 examples are too few to be sure", verdict(rows))


def test_the_verdict_quotes_both_ratios() -> None:
    text = verdict(rows_of(100, 1000))
    assert "100.0 ms with a cached prefix (10.0 times as fast)" in text
    assert "1000.0 ms naively (100.0 times)" in text


def test_of_two_good_bundles_the_faster_one_is_meant() -> None:
    rows = rows_of(100, 1000)
    other = {**rows[-1], "system": "quick", "latency_ms": {**rows[-1]["latency_ms"], "p50": 2.0}}
    assert "`quick`" in verdict([*rows, other])
    bad = {
        **other,
        "accuracy": 0.5,
        "accuracy_minus_teacher": {"difference": -0.4, "ci95": [-1, 0]},
    }
    assert "`student`" in verdict([*rows, bad])


def test_without_a_prompt_there_is_no_advice() -> None:
    assert "no advice" in verdict(rows_of(1, 10)[-1:])


def test_naive_rows_borrow_their_accuracy_but_not_their_speed() -> None:
    naive, cached, student = rows_of(20, 100)
    assert naive["accuracy"] == cached["accuracy"] == 0.9
    assert naive["accuracy_from"] == TEACHER_CACHED and cached["accuracy_from"] is None
    assert naive["latency_ms"]["p50"] == 1000
    assert naive["throughput_per_s"] == pytest.approx(1.0) and naive["throughput_batch"] == 1
    assert cached["throughput_per_s"] == 50.0 and cached["throughput_batch"] == 8
    assert student["shots_in_input"] == 0 and cached["shots_in_input"] == 4
    assert student["agreement_with_teacher"] == pytest.approx(0.9)
    assert student["accuracy_minus_teacher"]["difference"] == pytest.approx(-0.1)


def test_columns_are_put_in_the_tasks_order() -> None:
    swapped = result(0, 10, 1.0, labels=["no", "yes"], scores={"main": [[0.0, 2.0]] * 10})
    main = EvalSet("main", "validation", ({},) * 10, ("yes",) * 10, 10)
    (row,) = make_rows([system("student", "bundle")], {"student": swapped}, [main], LABELS, 0)
    assert row["accuracy"] == 1.0


def test_calibration_takes_a_preferred_label_back() -> None:
    # Every input leans to `no`, half of them less so: only those are `yes` once that is known.
    scores = [[0.0, 1.0]] * 5 + [[0.0, 3.0]] * 5
    main = EvalSet("main", "validation", ({},) * 10, ("yes",) * 5 + ("no",) * 5, 10)
    measured = result(0, 10, 1.0, scores={"main": scores}, calibration=scores)
    for kind, expected in (("icl", 1.0), ("bundle", 0.5)):
        role = TEACHER_CACHED if kind == "icl" else "student"
        (row,) = make_rows([system(role, kind)], {role: measured}, [main], LABELS, 4)
        assert (row["accuracy"], row["accuracy_uncalibrated"]) == (expected, 0.5)


def test_compare_counts_what_differs() -> None:
    one, other = result(0, 3, 1.0), result(1, 3, 1.0)
    assert compare(one, other) == {"examples": 3, "label_mismatches": 1, "max_abs_logit_diff": 2.0}
    assert compare(one, one)["max_abs_logit_diff"] == 0


def test_markdown_leads_with_the_answer_and_its_tables_are_square() -> None:
    rows = rows_of(100, 1000)
    rows[-1]["system"] = "a|b"
    for row in rows:
        row["ood_accuracy"] = {"far": {"accuracy": 0.5, "ci95": [0.4, 0.6], "examples": 9}}
    text = markdown(report_of(rows, ood=["far"]))
    head, answer = text.split("\n\n")[:2]
    assert head == "# Benchmark: main"
    assert answer.startswith("Ship the student")
    assert "- a note" in text and "Some CPU" in text and "0.500 [0.400, 0.600]" in text
    tables = re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)
    assert len(tables) == 3
    for one in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in one.splitlines()}) == 1


def test_a_skipped_cached_row_leaves_its_naive_row_without_accuracy() -> None:
    main = EvalSet("main", "validation", ({},) * 10, ("yes",) * 10, 10)
    results = {TEACHER: {"skipped": "too long"}, TEACHER_CACHED: {"skipped": "too long"}}
    results |= {"student": result(0, 10, 1.0)}
    systems = [system(TEACHER), system(TEACHER_CACHED), system("student", "bundle")]
    (row,) = make_rows(systems, results, [main], LABELS, 4)
    assert row["system"] == "student" and row["agreement_with_teacher"] is None
    assert "no advice" in markdown(report_of([row]))


def test_a_busy_machine_is_said() -> None:
    rows = rows_of(100, 1000)
    assert "busy" not in markdown(report_of(rows))
    rows[-1]["load_average_before"] = 6.0
    assert "busy with other work before student (load 6.0)" in markdown(report_of(rows))


def test_terminal_table_shows_names_as_they_are() -> None:
    rows = rows_of(100, 1000)
    rows[-1]["system"] = "[red]x"
    screen = Console(file=io.StringIO(), width=240)
    screen.print(table(report_of(rows)))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x" in shown and "0.900" in shown and TEACHER_CACHED in shown


def test_baselines_follow_the_models_that_are_known() -> None:
    pytest.importorskip("torch")
    names = [one.name for one in list_systems([], Models("teacher", None), None)]
    assert names == [TEACHER, TEACHER_CACHED]
    names = [one.name for one in list_systems([], Models("teacher", "base"), None)]
    assert names == list(BASELINES)
    names = [one.name for one in list_systems([], Models("teacher", "base"), [TEACHER])]
    assert names == [TEACHER, TEACHER_CACHED]
    assert list_systems([], Models("teacher", "base"), []) == ()
    with pytest.raises(InputError, match="give --student"):
        list_systems([], Models("teacher", None), ["same-size-zero-shot"])


def test_bfloat16_only_where_it_is_faster() -> None:
    assert fast_dtype(["avx2"], gpu=False) == "float32"
    assert fast_dtype(["avx2", "avx512_bf16"], gpu=False) == "bfloat16"
    assert fast_dtype([], gpu=True) == "bfloat16"


def test_percentiles_are_of_the_raw_values() -> None:
    raw = np.random.default_rng(0).gamma(2.0, 10.0, 200).tolist()
    main = EvalSet("main", "validation", ({},) * 3, ("yes",) * 3, 3)
    measured = result(0, 3, 1.0, latency_ms=raw)
    (row,) = make_rows([system("student", "bundle")], {"student": measured}, [main], LABELS, 0)
    assert row["latency_ms"]["p50"] == np.median(raw)
    assert row["latency_ms"]["raw"] == raw
    assert np.mean(np.array(raw) <= row["latency_ms"]["p95"]) == pytest.approx(0.95, abs=0.01)
