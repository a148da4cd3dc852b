"""Reading tasks and data: every bad input says what, where and the cure."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.tasks.demonstrations import draw_demonstrations
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import Example, builtin_tasks, load_task

TASK = """
name = "mail"
template = "Mail: {text}\\nTeam:"
labels = { billing = " billing", shipping = " shipping" }
[data]
train = "train.jsonl"
[data.label_map]
invoices = "billing"
"""
ROWS = [{"text": "my bill", "label": "billing"}, {"text": "my parcel", "label": "shipping"}]


def write(folder, content, task=TASK, name="train.jsonl"):
    (folder / "mail.toml").write_text(task.replace("train.jsonl", name))
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    (folder / name).write_text(content)
    return load_task(str(folder / "mail.toml"))


def test_reads_rows_maps_labels_and_counts_the_dropped(tmp_path):
    rows = [*ROWS, {"text": "x", "label": "invoices"}, {"text": "y", "label": "praise"}]
    split = read_split(write(tmp_path, [*rows, {"text": "no label"}]), "train")
    assert [e.label for e in split.examples] == ["billing", "shipping", "billing", None]
    assert split.dropped == {"praise": 1}
    assert "1 praise" in split.say("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": "billing"}\n{"text": ', r"train\.jsonl:2: not valid JSON"),
        ('["text"]\n', r"train\.jsonl:1: not a JSON object"),
        ('{"text": "  ", "label": "billing"}\n', r"train\.jsonl:1: field 'text' is empty"),
        ('{"text": 3, "label": "billing"}\n', r"train\.jsonl:1: field 'text' is not text"),
        ('{"body": "a", "label": "billing"}\n', r"train\.jsonl:1: no field 'text'.*has body"),
        ('{"text": "a", "label": "Biling"}\n', r"train\.jsonl:1: label 'Biling'.*did you mean"),
        ('{"text": "a", "label": ["x"]}\n', r"train\.jsonl:1: the label"),
        ('{"text": "a", "label": "praise"}\n', r"every label is unknown.*praise"),
        ("", r"no examples"),
        (
            '{"id": "7", "text": "a", "label": "billing"}\n{"id": 7, "text": "b"}\n',
            r"train\.jsonl:2: id '7' was used at .*train\.jsonl:1",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path, content, message):
    task = write(tmp_path, content)
    with pytest.raises(InputError, match=message):
        read_split(task, "train")


def test_a_misspelt_label_is_told_with_the_case_that_it_has(tmp_path):
    task = TASK.replace("billing =", '"Sci/Tech" =').replace('= "billing"', '= "Sci/Tech"')
    with pytest.raises(InputError, match="'sci/tech' is not one of .*did you mean 'Sci/Tech'"):
        read_split(write(tmp_path, [{"text": "a", "label": "sci/tech"}], task), "train")


def test_all_that_is_wrong_is_said_at_once_with_every_place(tmp_path):
    rows = [
        *ROWS,
        {"text": "", "label": "billing"},
        {"text": "a", "label": "Billing"},
        {"text": "b", "label": "shipping "},
        {"text": None, "label": "billing"},
        {"text": "c", "label": "Billing"},
        {"text": "d\ud800", "label": "shipping"},
    ]
    with pytest.raises(InputError) as refused:
        read_split(write(tmp_path, rows), "train")
    said = str(refused.value)
    assert "3 things to mend" in said
    assert "train.jsonl:3: field 'text' is empty: fill it or drop the row (also at 6)" in said
    assert "train.jsonl:4: labels 'Billing' (2 rows), 'shipping ' (1 row) are not one of" in said
    line = 'label_map = { "invoices" = "billing", "Billing" = "billing", "shipping " = "shipping" }'
    assert line in said
    assert "train.jsonl:8: field 'text' is not valid Unicode text: it holds \\ud800" in said


def test_the_line_that_is_offered_for_nearly_right_labels_mends_them(tmp_path):
    rows = [*ROWS, {"text": "a", "label": "BILLING"}, {"text": "b", "label": "Ship\u00adping"}]
    with pytest.raises(InputError) as refused:
        read_split(write(tmp_path, rows), "train")
    (line,) = re.findall(r"label_map = \{.*?\}", str(refused.value))
    task = TASK.replace('[data.label_map]\ninvoices = "billing"\n', line + "\n")
    labels = [
        example.label for example in read_split(write(tmp_path, rows, task), "train").examples
    ]
    assert labels == ["billing", "shipping", "billing", "shipping"]


def test_labels_that_only_look_like_the_tasks_can_be_dropped(tmp_path):
    task = TASK.replace("[data.label_map]", 'drop = ["unbilling"]\n[data.label_map]')
    rows = [*ROWS, {"text": "x", "label": "unbilling"}]
    split = read_split(write(tmp_path, rows, task), "train")
    assert len(split.examples) == 2 and split.dropped == {"unbilling": 1}
    with pytest.raises(InputError, match="drop names 'billing', which is in"):
        write(tmp_path, rows, task.replace("unbilling", "billing"))


@pytest.mark.parametrize(
    ("labels", "values", "found"),
    [
        (["1", "0"], [1, 0, 1.0, "1", "0.0", "1.00"], ["1", "0", "1", "1", "0", "1"]),
        (["1.0", "0.0"], [1, 0.0, "1"], ["1.0", "0.0", "1.0"]),
        (["True", "False"], [True, "False"], ["True", "False"]),
        (["true", "no"], [True, None, "", " ", float("nan")], ["true", None, None, None, None]),
        (["0.5", "x"], [0.5, "x"], ["0.5", "x"]),
    ],
)
def test_numbers_and_truths_are_labels(tmp_path, labels, values, found):
    words = ", ".join(f'"{label}" = " w{place}"' for place, label in enumerate(labels))
    task = TASK[: TASK.index("[data.label_map]")]
    task = re.sub(r"labels = .*", f"labels = {{ {words} }}", task)
    rows = [{"text": "a", "label": value} for value in values]
    read = read_split(write(tmp_path, rows, task), "train")
    assert [example.label for example in read.examples] == found
    missing = found.count(None)
    assert (f"{missing} of them without a label" in read.say("train")) == bool(missing)


def test_columns_that_a_task_names_must_be_there(tmp_path):
    for key in ("id_column", "group"):
        task = TASK.replace("[data.label_map]", f'{key} = "Kind"\n[data.label_map]')
        rows = [{**row, "kind": number} for number, row in enumerate(ROWS)]
        with pytest.raises(InputError, match="no column 'Kind' in any row.*did you mean 'kind'"):
            read_split(write(tmp_path, rows, task), "train")
        found = read_split(write(tmp_path, rows, task.replace("Kind", "kind")), "train").examples
        seen = [one.id if key == "id_column" else one.group for one in found]
        assert seen == ["0", "1"]


def test_a_split_without_labels_says_so_in_its_file(tmp_path):
    rows = [{"text": row["text"], "Team": row["label"]} for row in ROWS]
    with pytest.raises(InputError, match=r"no column 'label'.*has text, Team\).*leave it empty"):
        read_split(write(tmp_path, rows), "train")
    task = TASK.replace("train =", "unlabelled =")
    assert len(read_split(write(tmp_path, rows, task), "unlabelled").examples) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{text}", "{text.x}"), "mail.toml: template"),
        (
            ("[data]", "[data]\nid_column = true"),
            "id_column must be the name of a column, or false",
        ),
        (("[data]", '[data]\nlabel_column = ""'), "label_column must be the name of a column"),
        (("[data]", "[data]\nhub = 5"), "hub must be a text, and is 5"),
        (("[data]", "[data]\nfields = { txt = 'a' }"), "unknown key 'txt'; did you mean 'text'"),
        (("[data]", "[data]\ndrop = 'x'"), "drop must be a list of labels"),
        (('"mail"', '"a/b"'), "name = 'a/b': must have none of"),
        (('"mail"', '" mail."'), "no blank or dot at either end"),
        (('"mail"', '"' + "ä" * 60 + '"'), "at most 100 bytes"),
        (("billing =", '" " ='), "a label and its word have from 1 to 256"),
        (("billing =", '"' + "b" * 300 + '" ='), "a label and its word have from 1 to 256"),
        (("{text}", "{text}" + "x" * 70_000), "a text of at most 65,536"),
        (('" shipping"', '" billing"'), "share the word"),
        (("name =", "nam ="), "unknown key 'nam'; did you mean 'name'"),
        (("train =", "trian ="), "unknown key 'trian'; did you mean 'train'"),
        (('invoices = "billing"', 'invoices = "money"'), "maps 'invoices' to 'money'"),
        (("[data]", "[data"), "not valid TOML"),
        (('template = "Mail: {text}\\nTeam:"', ""), "'template' is missing"),
    ],
)
def test_bad_task_files_are_explained(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path, ROWS, TASK.replace(*change))


def test_a_key_that_slipped_below_data_is_told_where_it_stands(tmp_path):
    lines = TASK.splitlines()
    below = [line for line in lines if line.startswith(("labels", "name"))]
    task = "\n".join([*(line for line in lines[:6] if line not in below), *below, *lines[6:]])
    with pytest.raises(InputError, match="'name' is missing at the top: it stands below .data"):
        write(tmp_path, ROWS, task)


def test_missing_files_and_names():
    with pytest.raises(InputError, match="nowhere.toml: no such file"):
        load_task("nowhere.toml")
    with pytest.raises(InputError, match="did you mean 'mnli'"):
        load_task("mnlli")


def test_missing_data_file_and_split(tmp_path):
    task = write(tmp_path, ROWS)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(InputError, match="train.jsonl: no such file"):
        read_split(task, "train")
    with pytest.raises(InputError, match="has no 'test' split"):
        read_split(task, "test")


def test_csv_tsv_and_parquet_say_the_same(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    expected = read_split(write(tmp_path, ROWS), "train").examples
    for ending, delimiter in (("csv", ","), ("tsv", "\t")):
        lines = [delimiter.join(row) for row in (("text", "label"), *(r.values() for r in ROWS))]
        task = write(tmp_path, "\n".join(lines) + "\n", name=f"train.{ending}")
        assert read_split(task, "train").examples == expected
    task = write(tmp_path, "", name="train.parquet")
    with pytest.raises(InputError, match=r"train\.parquet: not a readable Parquet file"):
        read_split(task, "train")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    assert read_split(task, "train").examples == expected


def test_ragged_csv_names_its_line(tmp_path):
    task = write(tmp_path, "text,label\na,billing\nb\n", name="train.csv")
    with pytest.raises(InputError, match=r"train\.csv:3: 1 columns where the header has 2"):
        read_split(task, "train")


def test_columns_can_be_renamed(tmp_path):
    renamed = TASK + '[data.fields]\ntext = "body"\n'
    task = write(tmp_path, [{"body": "a", "label": "billing"}], renamed)
    assert read_split(task, "train").examples[0].fields == {"text": "a"}


def test_pattern_replaces_the_template_of_an_nli_task():
    task = load_task("mnli", pattern="minimal")
    assert task.template.text == "{premise} {hypothesis} ?"
    with pytest.raises(InputError, match="is for tasks with the labels"):
        load_task("sst2", pattern="minimal")


def test_built_in_tasks_load_and_the_embedded_ones_need_nothing():
    tasks = builtin_tasks()
    assert {"mnli", "mnli-3way", "hans", "rte", "sst2", "ag_news", "tickets"} <= set(tasks)
    train = read_split(tasks["tickets"], "train").examples
    assert len(train) == 1200 and {e.label for e in train} == set(tasks["tickets"].labels)
    assert len(read_split(tasks["tickets-ood"], "test").examples) == 300


@given(shots=st.integers(0, 20), labels=st.integers(2, 5), seed=st.integers(0, 99))
def test_demonstrations_are_balanced_seeded_and_distinct(shots, labels, seed):
    names = [f"label{number}" for number in range(labels)]
    pool = [Example(str(i), {"text": str(i)}, names[i % labels]) for i in range(20 * labels)]
    drawn = draw_demonstrations(pool, names, shots, seed)
    assert drawn == draw_demonstrations(pool, names, shots, seed)
    assert len({e.id for e in drawn}) == shots
    counts = [sum(e.label == name for e in drawn) for name in names]
    assert max(counts) - min(counts) <= 1


def test_draws_and_seeds_differ():
    pool = [Example(str(i), {"text": str(i)}, "ab"[i % 2]) for i in range(200)]
    sets = [draw_demonstrations(pool, "ab", 8, s, d) for s in range(3) for d in range(3)]
    assert len({tuple(e.id for e in drawn) for drawn in sets}) == 9


def test_too_few_examples_for_the_shots():
    pool = [Example("1", {"text": "a"}, "a"), Example("2", {"text": "b"}, "b")]
    with pytest.raises(InputError, match=r"4 shots need 2 labelled examples of '.'.*has 1"):
        draw_demonstrations(pool, "ab", 4, 0)
