"""Small inputs that went wrong for people, each read as it should be or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecd.errors import InputError
from edgecd.tasks.json_rows import parse_json
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason="needs ../shared/cases beside the repository"
)

READ = {
    "blank-label/task.toml": (7, ["positive", "negative", None]),
    "excel-blank-rows/task.toml": (6, ["positive", "negative"]),
    "excel-semicolon/task.toml": (2, ["positive", "negative"]),
    "excel-utf16/task.toml": (2, ["positive", "negative"]),
    "float-labels/task-csv.toml": (5, ["1", "0", None]),
    "float-labels/task-jsonl.toml": (5, ["1", "0", None]),
    "sep-line/task.toml": (6, ["positive", "negative"]),
    "toml-bom/task.toml": (6, ["positive", "negative"]),
    "upper-suffix/task.toml": (6, ["positive", "negative"]),
}
REFUSED = {
    "dup-header": r"train\.csv:1: the column 'text' is there 2 times",
    "label-column": r"val\.csv: no column 'label'.*has text, Label; did you mean 'Label'",
    "label-column-train": r"train\.csv: no column 'label'.*label_column = \"Label\"",
    "case-label": r"'Positive' \(1 row\), 'positive ' \(1 row\).*"
    r'label_map = \{ "Positive" = "positive", "positive " = "positive" \}',
    "cp1252-line3": r"train\.csv:3: byte 0xe9 is not UTF-8.*cp1252.*café.*save it again",
    "labels-after-data": r"task\.toml: 'labels' is missing at the top: it stands below \[data\]",
    "jsonl-bigint": r"train\.jsonl:41: not valid JSON here: a number of thousands of digits",
    "jsonl-deep": r"train\.jsonl:41: not valid JSON here: nested too deeply",
    "jsonl-surrogate": r"train\.jsonl:1: field 'premise'.*\\ud83d",
    "toml-bigint": r"task\.toml: not valid TOML here: a number of thousands of digits",
    "toml-deep": r"task\.toml: not valid TOML here: nested too deeply",
    "parquet-badutf8": r"train\.parquet: .*not a readable Parquet file",
    "parquet-page": r"train\.parquet: not a readable Parquet file",
    "name-empty": r"task\.toml: name = '': must be a text that is not empty",
    "name-long": r"task\.toml: name = 'x+'\.\.\.: must have at most 100 bytes",
}


@pytest.mark.parametrize("case", READ)
def test_what_is_unambiguous_is_read(case):
    count, labels = READ[case]
    task = load_task(str(CASES / case))
    for split in task.splits:
        found = [example.label for example in read_split(task, split).examples]
        assert len(found) == count and list(dict.fromkeys(found)) == labels


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_is_refused_in_one_line_with_its_place(case):
    if case.startswith("parquet"):
        pytest.importorskip("pyarrow")

    with pytest.raises(InputError, match=REFUSED[case]) as refused:
        task = load_task(str(CASES / case / "task.toml"))
        for split in task.splits:
            read_split(task, split)
    assert "\n" not in str(refused.value)


def test_every_case_of_reading_is_here():
    folders = {path.name for path in CASES.iterdir() if path.is_dir()}
    known = {name.partition("/")[0] for name in (*READ, *REFUSED)}
    assert folders - known <= {"special-token", "stdin-bom"}


def task_over(folder, rows):
    (folder / "task.toml").write_text(
        'name = "t"\ntemplate = "{text}:"\n'
        'labels = { true = " yes", false = " no", positive = " good", negative = " bad" }\n'
        f'[data]\ntrain = "{rows}"\n'
    )
    return load_task(str(folder / "task.toml"))


def test_truths_are_labels_and_nan_is_none(tmp_path):
    examples = read_split(task_over(tmp_path, CASES / "bool-nan.jsonl"), "train").examples
    assert [example.label for example in examples] == ["true", None]


def test_ids_that_repeat_are_told_with_the_ways_out(tmp_path):
    task = task_over(tmp_path, CASES / "ids.jsonl")
    with pytest.raises(InputError, match=r"ids\.jsonl:2: id 'customer-1'.*id_column = false"):
        read_split(task, "train")
    text = (tmp_path / "task.toml").read_text()
    (tmp_path / "task.toml").write_text(text + "id_column = false\n")
    found = read_split(load_task(str(tmp_path / "task.toml")), "train").examples
    assert [example.id for example in found] == ["train-1", "train-2"]


def test_a_byte_order_mark_before_a_line_of_json_is_none_of_it():
    line = (CASES / "stdin-bom" / "in.jsonl").read_text(encoding="utf-8")
    assert line.startswith("\ufeff")
    assert parse_json(line) == json.loads(line[1:])
