"""No bytes make a reader or a task file fail otherwise than with a message."""

from __future__ import annotations

import contextlib
import json
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecd.errors import EdgecdError, for_terminal
from edgecd.tasks.json_rows import parse_json
from edgecd.tasks.labels import Spellings
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task

TASK = """
name = "hostile"
template = "{text}:"
labels = { a = " a", b = " b", 1 = " one", true = " yes" }
[data]
train = "rows.ENDING"
"""
ENDINGS = ("jsonl", "json", "csv", "tsv", "parquet", "xlsx")
# What files of rows are made of, so that more than their first byte is read.
PIECES = st.sampled_from(
    [
        *('{"text": "x", "label": "a"}', '{"text"', '"label"', "[", "]", "{", "}", ":", ",", "\\"),
        *("text", "label", "id", ";", "\t", "\n", "\r\n", "\r", '"', '""', " ", "a", "A ", "1.0"),
        *("sep=;\n", "null", "NaN", "1e999", "true", "9" * 5000, "\\ud83d", "\0", "\ufeff", "é"),
    ]
)
CONTENT = st.one_of(
    st.binary(max_size=300),
    st.lists(PIECES, max_size=40).map(lambda parts: "".join(parts).encode()),
    st.lists(PIECES, max_size=40).map(lambda parts: "".join(parts).encode("utf-16")),
    st.lists(PIECES, max_size=20)
    .map(lambda parts: "text,label\n" + "".join(parts))
    .map(str.encode),
)
FEW = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(folder, ending, content):
    (folder / f"rows.{ending}").write_bytes(content)
    (folder / "task.toml").write_text(TASK.replace("ENDING", ending))
    try:
        for example in read_split(load_task(str(folder / "task.toml")), "train").examples:
            json.dumps([example.id, dict(example.fields), example.label]).encode()
            "".join([example.id, *example.fields.values()]).encode()
    except EdgecdError as refused:
        assert for_terminal(str(refused)) == str(refused)
        assert len(str(refused)) < 20_000


@pytest.mark.parametrize("ending", ENDINGS)
@given(content=CONTENT)
@FEW
def test_whatever_a_file_holds_is_rows_or_an_error(tmp_path, ending, content):
    read(tmp_path, ending, content)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound file of each binary kind."""
    folder = tmp_path_factory.mktemp("sound")
    pyarrow, openpyxl = pytest.importorskip("pyarrow"), pytest.importorskip("openpyxl")
    from pyarrow import parquet

    rows = {"text": ["one text", "two", "two"], "label": ["a", "b", "a"], "n": [1, 2, 3]}
    parquet.write_table(pyarrow.table(rows), folder / "rows.parquet")
    book = openpyxl.Workbook()
    book.active.append(list(rows))
    for row in zip(*rows.values(), strict=True):
        book.active.append(row)
    book.save(folder / "rows.xlsx")
    with (
        zipfile.ZipFile(folder / "rows.xlsx") as packed,
        zipfile.ZipFile(folder / "plain.xlsx", "w") as plain,  # so that changes reach the XML
    ):
        for name in packed.namelist():
            plain.writestr(name, packed.read(name))
    return {
        "parquet": (folder / "rows.parquet").read_bytes(),
        "xlsx": (folder / "plain.xlsx").read_bytes(),
    }


@pytest.mark.parametrize("ending", ["parquet", "xlsx"])
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    kept=st.floats(0.5, 1),
)
@FEW
def test_damaged_tables_are_rows_or_an_error(tmp_path, sound, ending, changes, kept):
    content = bytearray(sound[ending])
    for place, byte in changes:
        content[place % len(content)] = byte
    read(tmp_path, ending, bytes(content[: int(len(content) * kept)] if kept < 0.6 else content))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)


ROWS = st.lists(st.fixed_dictionaries({"text": VALUES, "label": VALUES, "id": VALUES}), max_size=3)


@given(rows=ROWS)
@FEW
def test_whatever_a_column_holds_is_an_example_or_an_error(tmp_path, rows):
    read(tmp_path, "jsonl", "\n".join(map(json.dumps, rows)).encode())


@given(text=st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join)))
@settings(deadline=None)
def test_a_line_of_json_is_a_value_or_an_error(text):
    with contextlib.suppress(EdgecdError):
        parse_json(text)


@given(text=st.one_of(st.text(max_size=200), st.text("ab.[]{}=\"'\n #1_-", max_size=300)))
@FEW
def test_a_task_file_is_a_task_or_an_error(tmp_path, text):
    (tmp_path / "task.toml").write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(EdgecdError):
        load_task(str(tmp_path / "task.toml"))


@given(
    key=st.sampled_from(["name", "template", "labels", "description"]),
    data=st.sampled_from(["train", "hub", "label_map", "drop", "fields", "id_column", "group"]),
    value=st.sampled_from(
        ["1", "true", "[]", "{}", '""', '"x"', '["a", 1]', '{ a = "b" }', "{ a = 1 }", "1979-05-27"]
    ),
)
@FEW
def test_a_key_of_another_type_is_a_task_or_an_error(tmp_path, key, data, value):
    lines = [line for line in TASK.splitlines() if not line.startswith((f"{key} =", f"{data} ="))]
    text = "\n".join([f"{key} = {value}", *lines, f"{data} = {value}"])
    (tmp_path / "task.toml").write_text(text)
    with contextlib.suppress(EdgecdError):
        load_task(str(tmp_path / "task.toml"))


@given(labels=st.lists(st.text(min_size=1, max_size=12), min_size=1, unique=True), value=VALUES)
def test_a_label_that_is_read_is_the_tasks_or_itself(labels, value):
    try:
        found = Spellings(labels).read(value)
    except EdgecdError:
        return
    if isinstance(value, str) and value in labels:
        assert found == (value, value)
    if found is not None:
        assert isinstance(found[1], str) and found[1]
