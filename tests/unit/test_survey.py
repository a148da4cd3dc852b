"""What a task's data hold, counted before training."""

from __future__ import annotations

import json

import pytest

from edgecd.tasks.demonstrations import draw_demonstrations
from edgecd.tasks.survey import ambiguous, cover, label_counts, remarks, survey, usual_shots
from edgecd.tasks.task import Example, load_task

TASK = """
name = "mail"
template = "Mail: {text}:"
labels = { billing = " billing", shipping = " shipping" }
[data]
train = "train.jsonl"
validation = "validation.jsonl"
"""


def examples(**counts):
    return [
        Example(f"{label}{number}", {"text": f"{label} {number}"}, label)
        for label, count in counts.items()
        for number in range(count)
    ]


def task_over(folder, **splits):
    for name, rows in splits.items():
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "task.toml").write_text(TASK)
    return load_task(str(folder / "task.toml"))


def test_labels_spellings_repeats_and_shared_rows_are_counted(tmp_path):
    train = [("a", "billing"), ("a ", "billing"), ("b", "shipping"), ("b", "billing"), ("c", None)]
    train += [("d", "Billing"), ("e", "praise"), ("f", "shipping")]
    task = task_over(tmp_path, train=train, validation=[("a", "billing"), ("z", "shipping")])
    found = survey(task, shots=None)
    one = found.splits["train"]
    assert (one.examples, one.unlabelled, one.duplicates, one.two_labels) == (6, 1, 2, 1)
    assert one.labels == {"billing": 3, "shipping": 2}
    assert one.spellings == {"billing": {"billing": 3, "Billing": 1}}
    assert one.dropped == {"praise": 1}
    assert [(o.first, o.second, o.examples) for o in found.overlaps] == [("train", "validation", 1)]
    assert len(found.faults) == 1 and "'Billing' is not one of" in found.faults[0]
    said = "\n".join(found.remarks)
    assert "train: 2 rows repeat the text of an earlier one" in said
    assert "train: 1 texts have two labels" in said
    assert "validation: 1 row are in train, too" in said


def test_faults_of_every_split_are_told_at_once(tmp_path):
    task = task_over(tmp_path, train=[("", "billing"), ("b", "shiping")])
    found = survey(task, shots=2)
    assert [fault.split(": ", 1)[1].split(":")[0] for fault in found.faults] == [
        "field 'text' is empty",
        "label 'shiping' is not one of billing, shipping; did you mean 'shipping'? Correct the "
        "data, or write in [data]",
        "no such file (see [data] in the task file)",
    ]


def test_a_survey_of_good_data_has_nothing_to_say(tmp_path):
    rows = [
        (f"{label} {number}", label) for label in ("billing", "shipping") for number in range(9)
    ]
    found = survey(task_over(tmp_path, train=rows[:-2], validation=rows[-2:-1] + rows[:0]), None)
    assert found.faults == ()
    assert [line for line in found.remarks if not line.startswith("validation")] == []


@pytest.mark.parametrize(
    ("counts", "shots"),
    [
        ({"a": 500, "b": 500}, 16),
        ({"a": 500, "b": 16}, 16),
        ({"a": 500, "b": 6}, 6),
        ({"a": 500, "b": 1}, 2),
        (dict.fromkeys("abcdefghijklmnopqrst", 9), 20),
        (dict.fromkeys("abcdefghijklmnopqrst", 1), 20),
        ({"a": 500, "b": 0}, 16),
    ],
)
def test_the_usual_shots_show_every_label_and_leave_half_of_it(counts, shots):
    assert usual_shots(counts) == shots
    if min(counts.values()):
        drawn = draw_demonstrations(examples(**counts), list(counts), shots, seed=0)
        shown = label_counts(drawn, list(counts))
        assert min(shown.values()) >= 1
        assert all(shown[label] <= max(1, counts[label] // 2) for label in counts)


def test_labels_that_the_shots_leave_out_are_told():
    found = cover(dict.fromkeys([f"intent {n}" for n in range(77)], 40), shots=16)
    assert (found.never_shown, found.short) == (61, {})
    (line,) = remarks({}, [], found)
    assert "61 of 77 labels are never shown to the teacher: --shots 77" in line
    assert cover({"a": 9, "b": 9}, shots=0).never_shown == 0
    (line,) = remarks({}, [], cover({"a": 9, "b": 2}, shots=16))
    assert "too few labelled examples of some labels (b 2)" in line


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"ham": 90, "spam": 10}, "90% of the labels are ham"),
        ({"ham": 70, "spam": 30}, None),
        (dict.fromkeys("abcdefghi", 6) | {"j": 46}, "46% of the labels are j"),
        (dict.fromkeys("abcdefghi", 7) | {"j": 37}, None),
        ({"ham": 40, "spam": 0}, "no example of spam"),
    ],
)
def test_labels_that_are_far_from_even_are_told(counts, told):
    said = remarks({"train": examples(**counts)}, list(counts), None)
    assert any(told in line for line in said) if told else said == []


def test_only_known_labels_make_a_text_ambiguous():
    rows = [Example("1", {"text": "a"}, "x"), Example("2", {"text": "a"}, None)]
    assert ambiguous(rows) == set()
    assert ambiguous([*rows, Example("3", {"text": "a "}, "y")]) == {("a",)}
