"""The report's first sentence follows from its figures, and its tables hold together."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgecd.bench.exchange import Evaluation, Timing
from edgecd.bench.report.markdown import markdown, table
from edgecd.bench.report.record import SameAnswers, parse_report, write_report
from edgecd.bench.report.rows import Measured, compare, find_reference, make_rows
from edgecd.bench.report.selection import groups
from edgecd.bench.report.verdict import Answer, answer_text, cost_text, gap_text, judge, sentence
from edgecd.bench.systems.base import System
from edgecd.bench.systems.choose import choose_roles
from edgecd.bench.systems.given import Models
from edgecd.errors import InputError
from edgecd.formats.record import from_json, to_json
from edgecd.host.machine import fast_dtype
from edgecd.plotting.roles import BASELINES, TEACHER, TEACHER_CACHED
from edgecd.tasks.evaluation import EvalSet
from tests.reports import MACHINE, STUDENT, read, synthetic_report

LABELS = ("yes", "no")
ONNX_CACHED = "teacher-icl-cached-onnx-int8"


def system(role: str, kind: str = "icl", name: str | None = None) -> System:
    prompted = kind == "icl" and "zero" not in role
    return System(
        name or role,
        kind,  # type: ignore[arg-type]
        role,
        "model",
        None,
        runtime="torch" if kind == "icl" else "onnxruntime",
        shots=4 if prompted else 0,
        cached=role.endswith("cached"),
    )


def eval_set(of: int, wrong_label: int = 0) -> EvalSet:
    """`of` examples labelled yes, the last `wrong_label` of them no."""
    labels = ("yes",) * (of - wrong_label) + ("no",) * wrong_label
    return EvalSet(
        "main", "validation", ({},) * of, labels, (None,) * of, LABELS, of, tuple(range(1, of + 1))
    )


def measured(
    one: System, wrong: int, of: int, p50_ms: float, evaluated: bool = True, **more: Any
) -> Measured:
    """What its processes measured: the first `wrong` of `of` examples (all `yes`) answered `no`.

    `more` replaces keys of the evaluation.
    """
    scores = [[0.0, 2.0]] * wrong + [[2.0, 0.0]] * (of - wrong)
    timed = {
        "metadata": {
            "runtime": one.runtime,
            "runtime_version": "2",
            "provider": "cpu",
            "precision": "fp32",
            "parameters": 10,
            "disk_bytes": 4_000_000,
            "context_tokens": 0,
            "import_ms": 1.0,
            "load_ms": 1.0,
        },
        "threads": 1,
        "first_call_ms": p50_ms,
        "latency_ms": [p50_ms] * 3,
        "timed_scores": scores[:3],
        "peak_rss_bytes": 8_000_000,
        "peak_gpu_bytes": None,
        "tokens_per_query_mean": 20.0,
        "energy_j_per_query": None,
        "load_average_before": 0.5,
        "modules": [],
    }
    answered = {
        "labels": ["yes", "no"],
        "scores": {"main": scores},
        "calibration": None,
        "draws": [],
        "throughput_per_s": 50.0,
        "batch_size": 8,
        **more,
    }
    evaluation = from_json(Evaluation, answered, "evaluation") if evaluated else None
    return Measured(one, [from_json(Timing, timed, "timing")], evaluation)


def json_rows(found: Sequence[Measured], one: EvalSet) -> list[dict[str, Any]]:
    """The rows as they stand in report.json."""
    return [to_json(row) for row in make_rows(found, [one], LABELS, find_reference(found))]


def rows_of(
    student_wrong: int, of: int, student_ms: float = 10.0, prompt_ms: float = 100.0
) -> list[dict[str, Any]]:
    """A teacher with a tenth of its answers wrong, and a student."""
    found = [
        measured(system(TEACHER), 0, of, 10 * prompt_ms, evaluated=False),
        measured(system(TEACHER_CACHED), of // 10, of, prompt_ms),
        measured(system("student", "bundle"), student_wrong, of, student_ms),
    ]
    return json_rows(found, eval_set(of))


def verdict(report: dict[str, Any]) -> str:
    """The sentence of a report in JSON."""
    return sentence(judge(read(report)))


def row_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    """The row itself, to be changed."""
    (row,) = (row for row in report["rows"] if row["system"] == name)
    found: dict[str, Any] = row
    return found


def report_of(rows: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    reference = TEACHER_CACHED if any(row["system"] == TEACHER_CACHED for row in rows) else None
    report = {
        "schema": 1,
        "task": "main",
        "ood": [],
        "machine": MACHINE,
        "notes": ["a note"],
        "reference": reference,
        "rows": rows,
        **more,
    }
    return {**report, "verdict": verdict(report)}


def answer_of(*arguments: Any) -> str:
    return str(report_of(rows_of(*arguments))["verdict"])


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
    assert re.search(answer, answer_of(wrong, of, student_ms))


def test_as_good_on_average_but_on_other_examples_is_not_settled() -> None:
    rows = rows_of(10, 100)
    rows[-1]["accuracy_minus_teacher"] = {"difference": -0.01, "ci95": [-0.08, 0.06]}
    text = verdict(report_of(rows))
    assert re.search(r"^Probably ship .*, but 100 examples are too few to be sure", text)


def test_the_verdict_quotes_both_ratios() -> None:
    text = answer_of(100, 1000)
    assert "100.0 ms with the prompt cached (10.0 times as fast)" in text
    assert "1000.0 ms with it read each time (100.0 times as fast)" in text


def test_a_student_is_compared_with_the_prompt_on_its_own_runtime() -> None:
    report = synthetic_report()
    text = verdict(report)
    rival, student = (row_of(report, name) for name in (ONNX_CACHED, STUDENT))
    assert f"{rival['latency_ms']['p50']:.1f} ms with the prompt cached" in text
    assert f"`{ONNX_CACHED}`" in text
    student["faster_than"]["cached"]["ratio"] = 0.9
    assert verdict(report).startswith("Keep prompting: `cd-lora-int8` is not faster")
    assert "0.9 times as fast" in verdict(report)


def test_accuracy_is_against_the_reference_of_the_report() -> None:
    report = synthetic_report()
    assert "(accuracy 0.739 against 0.754, difference -0.015" in verdict(report)
    assert "no advice" in verdict({**report, "reference": "left out"})


def test_what_was_only_fine_tuned_is_not_the_student() -> None:
    report = synthetic_report()
    pbft = row_of(report, "pbft-lora-int8")
    pbft["accuracy_minus_teacher"] = {"difference": 0.1, "ci95": [0.05, 0.15]}
    pbft["latency_ms"]["p50"] = 1.0
    assert f"`{STUDENT}`" in verdict(report)
    report["rows"] = [row for row in report["rows"] if row["role"] != "student"]
    assert verdict(report).startswith("Ship the student: `pbft-lora-int8`")


def test_an_older_report_is_compared_with_the_prompt_of_its_own() -> None:
    report = report_of(rows_of(100, 1000))
    older = {key: value for key, value in report.items() if key != "reference"}
    for row in older["rows"]:
        del row["faster_than"], row["rounds"], row["draws"], row["groups"]
    assert verdict(older) == report["verdict"]
    student = write_report(read(older))["rows"][-1]
    assert student["faster_than"]["naive"] == {"system": TEACHER, "ratio": 100}
    assert student["rounds"][0]["p50_ms"] == 10


def test_of_two_good_bundles_the_faster_one_is_meant() -> None:
    rows = rows_of(100, 1000)
    other = {**rows[-1], "system": "quick", "latency_ms": {**rows[-1]["latency_ms"], "p50": 2.0}}
    assert "`quick`" in verdict(report_of([*rows, other]))
    bad = {
        **other,
        "accuracy": 0.5,
        "accuracy_minus_teacher": {"difference": -0.4, "ci95": [-1, 0]},
    }
    assert "`student`" in verdict(report_of([*rows, bad]))


def test_without_a_prompt_there_is_no_advice() -> None:
    assert "no advice" in verdict(report_of(rows_of(1, 10)[-1:]))


def test_the_verdict_holds_its_parts_and_the_sentence_says_them() -> None:
    found = judge(read(report_of(rows_of(7, 50))))
    assert found.answer is Answer.RATHER_KEEP and found.unsure
    assert found.student and found.student.system == "student"
    assert found.reference and found.reference.system == TEACHER_CACHED
    assert found.gap and found.gap.difference == pytest.approx(-0.04)
    assert found.cached and (found.cached.prompt.role, found.cached.ratio) == (TEACHER_CACHED, 10)
    assert found.naive and (found.naive.prompt.role, found.naive.ratio) == (TEACHER, 100)
    assert found.against == found.cached
    text = sentence(found)
    assert text.startswith(f"{answer_text(found)} ({gap_text(found)}). ")
    assert text.endswith(cost_text(found))


def test_a_report_is_read_as_it_was_written() -> None:
    report = read(synthetic_report(asked={"task": "mnli-binary", "bundles": ["cd-lora-int8"]}))
    assert parse_report(json.loads(json.dumps(write_report(report)))) == report


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": [{}]}, "report.json: rows: 'system' is missing"),
        ({"rows": 3}, "report.json: rows must be a list"),
        ({"schema": "one"}, "report.json: schema = 'one' is not int"),
        ({"noise": [1]}, "report.json: noise must be an object"),
    ],
)
def test_a_report_of_other_types_is_refused_by_its_key(changes: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(synthetic_report(**changes))


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
    answered = {"labels": ["no", "yes"], "scores": {"main": [[0.0, 2.0]] * 10}}
    found = measured(system("student", "bundle"), 0, 10, 1.0, **answered)
    (row,) = json_rows([found], eval_set(10))
    assert row["accuracy"] == 1.0


def test_calibration_takes_a_preferred_label_back() -> None:
    # Every input leans to `no`, half of them less so: only those are `yes` once that is known.
    scores = [[0.0, 1.0]] * 5 + [[0.0, 3.0]] * 5
    answered = {"scores": {"main": scores}, "calibration": scores}
    for kind, expected in (("icl", 1.0), ("bundle", 0.5)):
        role = TEACHER_CACHED if kind == "icl" else "student"
        found = measured(system(role, kind), 0, 10, 1.0, **answered)
        (row,) = json_rows([found], eval_set(10, 5))
        assert (row["accuracy"], row["accuracy_uncalibrated"]) == (expected, 0.5)


def test_compare_counts_what_differs() -> None:
    one, other = (
        measured(system("student", "bundle"), wrong, 3, 1.0).rounds[0] for wrong in (0, 1)
    )
    assert compare(one, other) == SameAnswers(3, label_mismatches=1, max_abs_logit_diff=2.0)
    assert compare(one, one).max_abs_logit_diff == 0


def test_markdown_leads_with_the_answer_and_its_tables_are_square() -> None:
    rows = rows_of(100, 1000)
    rows[-1]["system"] = "a|b"
    for row in rows:
        row["ood_accuracy"] = {"far": {"accuracy": 0.5, "ci95": [0.4, 0.6], "examples": 9}}
    text = markdown(read(report_of(rows, ood=["far"])))
    head, answer = text.split("\n\n")[:2]
    assert head == "# Benchmark: main"
    assert answer.startswith("Ship the student")
    assert "- a note" in text and "Some CPU" in text and "0.500 [0.400, 0.600]" in text
    tables = re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)
    # Results, against the prompt, mistakes, accuracy, out of domain, time
    assert len(tables) == 6
    for one in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in one.splitlines()}) == 1


def test_markdown_holds_all_that_was_measured() -> None:
    text = markdown(read(synthetic_report()))
    for words in (
        "1.06 times its fastest round's (median over systems), 1.12 times at most (`llama.cpp`)",
        "-0.015 [-0.036, +0.006] | 0.410 (60:75)",
        "0.751 ± 0.017 (3)",
        "## hans by group",
        "| lexical_overlap (entailed) |",
        f"x ({ONNX_CACHED}) |",
        "Training: `pbft-lora-int8` 482 s, 2100 MB of memory at most; ",
    ):
        assert words in text


def test_a_skipped_cached_row_leaves_its_naive_row_without_accuracy() -> None:
    found = [
        measured(system(TEACHER), 0, 10, 1.0, evaluated=False),
        measured(system("student", "bundle"), 0, 10, 1.0),
    ]
    rows = json_rows(found, eval_set(10))
    assert rows[0]["accuracy"] is None and rows[1]["agreement_with_teacher"] is None
    text = markdown(read(report_of(rows)))
    assert "no advice" in text and f"| {TEACHER} | - |" in text


def test_a_busy_machine_is_said() -> None:
    rows = rows_of(100, 1000)
    assert "busy" not in markdown(read(report_of(rows)))
    rows[-1]["rounds"][0]["load_average_before"] = 6.0
    assert "busy with other work before `student` (load 6.0)" in markdown(read(report_of(rows)))


def test_terminal_table_shows_names_as_they_are() -> None:
    rows = rows_of(100, 1000)
    rows[-1]["system"] = "[red]x"
    screen = Console(file=io.StringIO(), width=240)
    screen.print(table(read(report_of(rows))))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x" in shown and "0.900" in shown and TEACHER_CACHED in shown


def test_every_row_stands_in_one_group_in_the_order_given() -> None:
    known = read(synthetic_report()).rows
    rows = [*known, replace(known[0], system="x", role="something-new")]
    found = {heading: [row.system for row in some] for heading, some in groups(rows)}
    assert next(iter(found)) == "The teacher's prompt" and found["something-new"] == ["x"]
    assert sorted(name for names in found.values() for name in names) == sorted(
        row.system for row in rows
    )


def test_baselines_follow_the_models_that_are_known() -> None:
    pytest.importorskip("torch")
    known = Models("teacher", "base")
    assert choose_roles(Models("teacher", None), None) == (TEACHER, TEACHER_CACHED)
    assert choose_roles(known, None) == BASELINES
    assert choose_roles(known, [TEACHER]) == (TEACHER, TEACHER_CACHED)
    assert choose_roles(known, []) == ()
    with pytest.raises(InputError, match="name it with --student"):
        choose_roles(Models("teacher", None), ["same-size-zero-shot"])


def test_bfloat16_only_where_it_is_faster() -> None:
    assert fast_dtype(["avx2"], gpu=False) == "float32"
    assert fast_dtype(["avx2", "avx512_bf16"], gpu=False) == "bfloat16"
    assert fast_dtype([], gpu=True) == "bfloat16"


def test_percentiles_are_of_the_raw_values() -> None:
    raw = np.random.default_rng(0).gamma(2.0, 10.0, 200).tolist()
    found = measured(system("student", "bundle"), 0, 3, 1.0)
    timed = replace(found.rounds[0], latency_ms=tuple(raw))
    found = Measured(found.system, [timed], found.evaluation)
    (row,) = json_rows([found], eval_set(3))
    assert row["latency_ms"]["p50"] == np.median(raw)
    assert row["latency_ms"]["raw"] == raw
    assert np.mean(np.array(raw) <= row["latency_ms"]["p95"]) == pytest.approx(0.95, abs=0.01)
