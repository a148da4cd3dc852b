"""Files as people have them: read where they are unambiguous, else refused with place and cure."""

from __future__ import annotations

import datetime
import json
import zipfile

import pytest

from edgecd.errors import InputError
from edgecd.files import read_toml
from edgecd.tasks import delimited, rows, tables
from edgecd.tasks.readers import read_rows

ROWS = [{"text": "a, fine; film", "label": "positive"}, {"text": "dull\nand long", "label": "no"}]


def values(path):
    return [dict(row.values) for row in read_rows(str(path))]


def saved(folder, name, content, encoding="utf-8"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def as_csv(delimiter=",", end="\n"):
    lines = [["text", "label"], *([f'"{row["text"]}"', row["label"]] for row in ROWS)]
    return end.join(delimiter.join(line) for line in lines) + end


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["rows.csv", "ROWS.CSV", "rows.tsv"])
def test_every_encoding_and_delimiter_that_says_what_it_is(tmp_path, name, delimiter, encoding):
    assert values(saved(tmp_path, name, as_csv(delimiter), encoding)) == ROWS


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_every_system(tmp_path, end):
    found = values(saved(tmp_path, "rows.csv", as_csv(end=end)))
    assert [row["label"] for row in found] == ["positive", "no"]


@pytest.mark.parametrize("first", ["sep=|\r\n", '"sep=|"\n', "SEP=|\n"])
def test_a_first_line_names_the_delimiter(tmp_path, first):
    assert values(saved(tmp_path, "rows.csv", first + as_csv("|"))) == ROWS


def test_a_delimiter_that_might_be_two_is_asked_for(tmp_path):
    path = saved(tmp_path, "rows.tsv", "a;b,c\n1;2,3\n")
    with pytest.raises(InputError, match="may have ',' or ';' between.*sep=,"):
        values(path)


def test_blank_rows_and_columns_without_name_are_left_out(tmp_path):
    path = saved(tmp_path, "rows.csv", "\n,text ,, label,,\n7,a,x,b,,\n,,,,,\n\n8,c,,d,,\n")
    assert values(path) == [{"text": "a", "label": "b"}, {"text": "c", "label": "d"}]


def test_rows_keep_the_line_that_they_begin_on(tmp_path):
    path = saved(tmp_path, "rows.csv", 'text,label\n"a\nb\nc",x\n\n,\nd,y\n')
    assert [(row.where.rpartition(":")[2], row.number) for row in read_rows(str(path))] == [
        ("2", 1),
        ("7", 4),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; the first line must name the columns"),
        ("\n\n,,\n", "empty"),
        ("text,label,text\na,b,c\n", r"csv:1: the column 'text' is there 2 times"),
        ("text,label\na,b\nc\nd,e\nf,g,h\ni\n", r"csv:3: 1 columns.*has 2.*also at 6"),
        ('text,label\n"a,b\nc,d\n', r"csv:2: a quoted text that begins here never ends"),
        ('text,label\nx,y\n"a"b,c\n', r"csv:3: something follows a closing quote"),
        (b"text,label\n\xff\xfe\xfd\xfc,b\n", "csv:2: byte 0xff is not UTF-8: .*cp1251"),
        (b"text,label\nna\xefve,b\n", "probably cp1252.*naïve"),
        (b"text,label\n" + b"a" * (1 << 16) + b"\xef\x9d,b\n", "byte 0xef is not UTF-8"),
        (b"t\0e\0x\0t\0\n\0\xff", "UTF-16 without a mark"),
        ("\ufefftext,label\n".encode("utf-16") + b"\n", "begins as UTF-16 but is not valid"),
        (b"PK\x03\x04rest", "Excel workbook: name it .xlsx"),
        (b"\x1f\x8brest", "gzip"),
        (b"\xd0\xcf\x11\xe0rest", "old Excel workbook"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said_with_its_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        values(saved(tmp_path, "rows.csv", content))


def test_several_kinds_of_faults_are_said_at_once(tmp_path):
    lines = ['{"text": "a"}', "oops", "[1]", '{"text": "b"}', "oops", '{"a": 1, "a": 2}']
    with pytest.raises(InputError) as refused:
        values(saved(tmp_path, "rows.jsonl", "\n".join(lines)))
    said = str(refused.value)
    assert said.startswith("3 things to mend\n")
    assert "rows.jsonl:2: not valid JSON" in said and "(also at 5)" in said
    assert "rows.jsonl:3: not a JSON object" in said
    assert "rows.jsonl:6: the key 'a' is there twice" in said


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.json"])
def test_json_lines_by_any_name_and_with_a_mark(tmp_path, name):
    content = "\ufeff" + "".join(json.dumps(row) + "\r\n\r\n" for row in ROWS)
    assert values(saved(tmp_path, name, content)) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_objects_is_read_with_the_line_of_each(tmp_path, indent):
    path = saved(tmp_path, "rows.json", "\n" + json.dumps(ROWS, indent=indent) + "\n")
    found = list(read_rows(str(path)))
    assert [dict(row.values) for row in found] == ROWS
    assert [row.where.rpartition(":")[2] for row in found] == (["3", "7"] if indent else ["2", "2"])
    assert values(saved(tmp_path, "none.json", "[ ]")) == []


def test_a_list_may_be_one_line_of_any_length(tmp_path, monkeypatch):
    monkeypatch.setattr("edgecd.tasks.text_lines.MAX_LINE", 1000)
    many = [{"text": f"row {number}", "label": "a"} for number in range(100)]
    assert values(saved(tmp_path, "rows.json", json.dumps(many))) == many


def test_a_file_of_nothing_but_faults_is_not_read_to_its_end(tmp_path):
    path = saved(tmp_path, "rows.jsonl", "{\n" * 5000)
    with pytest.raises(InputError, match=r"also at 2, 3, 4, 5, 6, 7, 8 and 992 more"):
        values(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n "data": []\n}', "neither a list of objects"),
        ("", "neither a list of objects"),
        ('[{"a": 1},\n 7]', r"json:2: not a JSON object"),
        ('[{"a": 1}\n{"a": 2}]', r"json:1: after this object the list neither goes on"),
        ('[{"a": 1}] []', "something follows the list"),
        ('[{"a": 1}', r"json:1: after this object the list neither"),
        (
            '[{"a": ' + "9" * 5000 + "}]",
            r"json:1: not valid JSON here: a number of thousands of digits",
        ),
        ("[" * 100_000, r"json:1: not valid JSON here: nested too deeply"),
    ],
    ids=["object", "empty", "number", "comma", "more", "end", "digits", "depth"],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        values(saved(tmp_path, "rows.json", content))


def test_names_that_are_no_data(tmp_path):
    with pytest.raises(InputError, match=r"unknown kind of file; use \.jsonl.*\.xlsx"):
        read_rows(str(tmp_path / "rows.txt"))
    with pytest.raises(InputError, match=r"save an \.xls as \.xlsx"):
        read_rows("old.xls")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_rows(str(tmp_path / "folder.csv"))
    with pytest.raises(InputError, match="cannot be read"):
        read_rows("x" * 5000 + ".csv")


# Excel workbooks


def workbook(folder, *sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, content in enumerate(sheets):
        sheet = book.create_sheet(f"sheet {number}")
        for row in content:
            sheet.append(row)
    book.save(folder / "rows.xlsx")
    return folder / "rows.xlsx"


def test_a_workbook_is_read_as_if_it_were_saved_as_csv(tmp_path):
    day = datetime.datetime(2026, 2, 1, 3, 4)
    content = [[], ["text ", "label", None, "day"], ["a, b", 1.0, "x", day], [], [7, True], [" "]]
    found = list(read_rows(str(workbook(tmp_path, [], content))))
    assert [dict(row.values) for row in found] == [
        {"text": "a, b", "label": "1", "day": "2026-02-01 03:04:00"},
        {"text": "7", "label": "true", "day": ""},
    ]
    assert [row.where.rpartition(":")[2] for row in found] == ["row 3", "row 5"]


@pytest.mark.parametrize(
    ("sheets", "message"),
    [
        ([[]], "empty; the first row must name the columns"),
        ([[["text"], ["a"]], [["x"]]], r"several sheets have rows \(sheet 0, sheet 1\)"),
        ([[["text", "text"]]], r"row 1: the column 'text' is there 2 times"),
        ([[["text"], ["a", "b"]]], "row 2: more columns than the header"),
    ],
)
def test_what_is_wrong_with_a_workbook_is_said(tmp_path, sheets, message):
    with pytest.raises(InputError, match=message):
        values(workbook(tmp_path, *sheets))


def test_a_workbook_that_is_damaged_or_unpacks_to_too_much(tmp_path, monkeypatch):
    path = workbook(tmp_path, [["text"], ["a"]])
    (tmp_path / "cut.xlsx").write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"cut\.xlsx: not a readable"):
        values(tmp_path / "cut.xlsx")
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("xl/sharedStrings.xml", bytes(1 << 20))
    monkeypatch.setattr(tables, "MAX_WORKBOOK", 1 << 19)
    with pytest.raises(InputError, match="unpacks to 1,048,576 bytes"):
        values(tmp_path / "bomb.xlsx")
    monkeypatch.setattr(tables, "MAX_CELLS", 1)
    with pytest.raises(InputError, match="over 1 cells"):
        values(path)


# Bounds


def test_a_parquet_file_of_kilobytes_that_holds_gigabytes_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    text = "x" * 10_000_000
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 4000, "int32"), [text])
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": column}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"characters of text up to here"):
        for _ in read_rows(str(path)):
            pass


def test_a_parquet_file_says_how_much_it_unpacks_to(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": ["a" * 9000], "label": ["b"]}), path)
    monkeypatch.setattr(tables, "MAX_UNPACKED", 5000)
    with pytest.raises(InputError, match="unpacks to .* take a sample"):
        values(path)
    two = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], ["text", "text"])
    parquet.write_table(two, path)
    with pytest.raises(InputError, match="'text' is there 2 times"):
        values(path)


def test_rows_texts_lines_and_columns_are_bounded(tmp_path, monkeypatch):
    path = saved(tmp_path, "rows.csv", "text,label\n" + "abcdef,b\n" * 9)
    monkeypatch.setattr(rows, "MAX_ROWS", 8)
    with pytest.raises(InputError, match=r"rows\.csv: over 8 rows: take a sample"):
        values(path)
    monkeypatch.setattr(rows, "MAX_TEXTS", 20)
    with pytest.raises(InputError, match=r"rows\.csv:4: over 20 characters of text"):
        values(path)
    monkeypatch.setattr("edgecd.tasks.text_lines.MAX_LINE", 7)
    with pytest.raises(InputError, match=r"rows\.csv:1: a line of over 7 characters"):
        values(path)
    monkeypatch.setattr(rows, "MAX_COLUMNS", 1)
    with pytest.raises(InputError, match=r"rows\.csv:1: 2 columns, and 1 are the most"):
        rows.check_columns(["text", "label"], f"{path}:1")


def test_texts_are_longer_than_the_csv_module_wants_them(tmp_path):
    long = "word " * 100_000
    assert values(saved(tmp_path, "rows.csv", f'text\n"{long}"\n'))[0]["text"] == long
    assert delimited.csv.field_size_limit() >= rows.MAX_LINE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a." * 400_000 + "b = 1", "a key of more than 32 parts"),
        ("x" * (1 << 20) + " = 1", "too large for a TOML file"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "a number of thousands of digits"),
        (b"a = '\xe9t\xe9'\n", r"task\.toml:1: byte 0xe9 is not UTF-8.*cp1252"),
    ],
    ids=["dots", "size", "depth", "digits", "cp1252"],
)
def test_toml_that_would_take_the_memory_or_is_no_text(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_toml(saved(tmp_path, "task.toml", content))


def test_toml_from_windows(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_toml(saved(tmp_path, "a.toml", 'a = "ü"\r\n', encoding)) == {"a": "ü"}
