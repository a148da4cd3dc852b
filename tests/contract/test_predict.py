"""`edgecd predict`: one text, the rows of a file, JSON lines; what is wrong ends nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

from edgecd.cli import app
from edgecd.errors import CheckFailed, InputError
from edgecd.export.convert import export_run
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.stream import CHUNK_ROWS, predict_lines
from tests import tiny

ONE_FIELD = "Text: {premise} True or False?\nAnswer:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Path:
    export_run(tiny.tiny_run(folder / "run", heldout=8, max_length=128), folder / "pairs")
    return folder / "pairs"


@pytest.fixture(scope="module")
def texts(folder: Path) -> Path:
    run = tiny.tiny_run(folder / "one", heldout=8, max_length=32, template=ONE_FIELD)
    export_run(run, folder / "texts")
    return folder / "texts"


def edgecd(*words: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, words)], input=stdin)


def read(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


# Files


def test_a_file_keeps_its_columns_and_gets_labels(pairs: Path, tmp_path: Path) -> None:
    rows = [
        {"n": str(n), **row["fields"], "café": "ü, ;"} for n, row in enumerate(tiny.examples(70))
    ]
    out = tmp_path / "new" / "labels.csv"
    done = edgecd(pairs, written(tmp_path / "in.csv", rows), "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{out}: 70 rows (")
    found = read(out.read_text(encoding="utf-8"))
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert list(found[0]) == [*rows[0], "label", "probability", "shortened", "error"]
    expected = Predictor.load(pairs).predict_batch(rows)
    for row, one in zip(found, expected, strict=True):
        assert row["label"] == one.label
        assert float(row["probability"]) == pytest.approx(max(one.probabilities.values()), abs=1e-5)
        assert (row["shortened"], row["error"]) == ("false", "")
    again = edgecd(pairs, tmp_path / "in.csv", "--out", out)
    assert isinstance(again.exception, InputError) and "--force" in str(again.exception)
    assert edgecd(pairs, tmp_path / "in.csv", "--out", out, "--force", "--json").exit_code == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["labels.csv"]


def test_a_row_that_is_wrong_says_so_in_its_place(texts: Path, tmp_path: Path) -> None:
    rows = [{"premise": text, "label": "x"} for text in ("A cat sits.", " ", "word " * 90)]
    done = edgecd(texts, written(tmp_path / "in.csv", rows), "--out", tmp_path / "out.tsv")
    assert isinstance(done.exception, CheckFailed)
    assert str(done.exception) == "1 of 3 rows have no answer: see their error"
    assert "in.csv has a column label already: the answers' is predicted_label" in one_line(done)
    assert "1 of 3 rows are too long, and shortened" in one_line(done)
    found = read((tmp_path / "out.tsv").read_text(encoding="utf-8"), "\t")
    assert [row["label"] for row in found] == ["x"] * 3
    assert [row["predicted_label"] != "" for row in found] == [True, False, True]
    assert [row["shortened"] for row in found] == ["false", "", "true"]
    assert [row["error"] for row in found][1] == "the input is empty: there is nothing to classify"


def one_line(done: Result) -> str:
    return " ".join(done.stderr.split())


def test_a_threshold_and_the_first_labels_are_columns(texts: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "in.csv", [{"premise": "A cat sits."}])
    done = edgecd(texts, file, "--threshold", 1, "--top", 5, "--json")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["label"], row["unsure"]) == (None, True)
    assert {row["top_1"], row["top_2"]} == set(tiny.LABELS) and "top_3" not in row
    assert row["top_1_probability"] == row["probability"] >= row["top_2_probability"]
    (row,) = read(edgecd(texts, file, "--threshold", 1, "--top", 1).stdout)
    assert (row["label"], row["unsure"], row["top_1"] != "") == ("", "true", True)


def test_columns_of_other_names_are_named_with_field(texts: Path, tmp_path: Path) -> None:
    rows = [{"id": "1", "message": "A cat sits."}]
    file = written(tmp_path / "in.csv", rows)
    done = edgecd(texts, file)
    assert isinstance(done.exception, InputError)
    for part in ("no column 'premise'", "(there are: id, message)", "--field premise=COLUMN"):
        assert part in str(done.exception)
    (row,) = read(edgecd(texts, file, "--field", "premise=message").stdout)
    assert row["label"] == Predictor.load(texts).predict("A cat sits.").label
    other = edgecd(texts, file, "--field", "text=message")
    assert "the template has the fields premise, and no 'text'" in str(other.exception)
    alone = written(tmp_path / "alone.csv", [{"anything": "A cat sits."}])
    assert read(edgecd(texts, alone).stdout)[0]["label"] == row["label"]


def test_json_lines_are_a_file_whose_lines_may_be_wrong(texts: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    lines = ['{"premise": "A cat.", "n": "\\ud800"}', "{oops", "3", '{"premise": 3}', ""]
    file.write_text("\n".join(lines))
    done = edgecd(texts, file, "--out", tmp_path / "out.jsonl")
    assert str(done.exception) == "3 of 4 rows have no answer: see their error"
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["n"] == "\ud800" and rows[0]["label"] in tiny.LABELS
    assert "not valid JSON" in rows[1]["error"] and "not a JSON object" in rows[2]["error"]
    assert "is not text" in rows[3]["error"]
    # As a run keeps its held-out examples
    assert edgecd(texts, texts.parent / "one" / "heldout.jsonl").exit_code == 0


def test_a_record_of_too_many_cells_is_wrong_alone(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("premise,n\nA cat, sits.,1\nA dog.,2\nA man.\n")
    done = edgecd(texts, tmp_path / "in.csv")
    rows = read(done.stdout)
    assert [row["label"] in tiny.LABELS for row in rows] == [False, True, False]
    assert rows[0]["error"].startswith("3 columns where the header has 2")
    assert str(done.exception) == "2 of 3 rows have no answer: see their error"


def test_a_workbook_is_read_and_its_labels_are_csv(texts: Path, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["premise", "n"], ["Ein Über-Kater.", 3], [None, 4]):
        book.active.append(cells)
    book.save(tmp_path / "in.xlsx")
    assert edgecd(texts, tmp_path / "in.xlsx", "--out", tmp_path / "out.csv").exit_code == 1
    text = (tmp_path / "out.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")  # as Excel wants it
    rows = read(text.decode("utf-8-sig"))
    assert [row["n"] for row in rows] == ["3", "4"] and "empty" in rows[1]["error"]


def test_what_was_marked_as_utf8_stays_marked(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes("premise\nÜber.\n".encode("utf-8-sig"))
    assert edgecd(texts, tmp_path / "in.csv", "--out", tmp_path / "out.csv").exit_code == 0
    assert (tmp_path / "out.csv").read_bytes().startswith("\ufeffpremise,".encode())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.csv"], "nowhere.csv: no such file"),
        (["notes.txt"], "notes.txt is a file, and none of .jsonl"),
        (["in.csv", "--out", "out.xlsx"], "rows are written as .csv, .tsv, .jsonl"),
        (["in.csv", "--out", "in.csv", "--force"], "in.csv is what is read"),
        (["a text", "--out", "out.csv"], "--out takes the rows of a file"),
        ([], "give a TEXT, a file"),
    ],
)
def test_wrong_use_of_files_is_told(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "in.csv", [{"premise": "A cat sits."}])
    (tmp_path / "notes.txt").write_text("x")
    done = edgecd(texts, *words)
    assert isinstance(done.exception, InputError) and message in str(done.exception)
    assert (tmp_path / "in.csv").read_text() == "premise\nA cat sits.\n"


# One text


def test_the_first_labels_of_one_text(texts: Path) -> None:
    shown = edgecd(texts, "A cat sits in data.csv", "--top", 2).stdout.splitlines()
    answer = json.loads(edgecd(texts, "A cat sits in data.csv", "--top", 1, "--json").stdout)
    assert shown[0].split()[0] == answer["top"][0]["label"] == answer["label"]
    assert {line.split()[0] for line in shown} == set(tiny.LABELS)


def test_a_text_that_was_too_long_is_told_at_every_door(texts: Path) -> None:
    long = "word " * 90
    assert "shortened" in edgecd(texts, long).stderr
    assert json.loads(edgecd(texts, long, "--json").stdout)["shortened"] is True
    done = edgecd(texts, "-", stdin=json.dumps(long).encode())
    assert json.loads(done.stdout)["shortened"] is True
    assert "1 of 1 inputs were too long" in done.stderr


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_gets_no_label(texts: Path, text: str) -> None:
    done = edgecd(texts, text)
    assert isinstance(done.exception, InputError) and "nothing to classify" in str(done.exception)


def test_a_text_that_begins_with_a_dash_stands_after_two(texts: Path) -> None:
    done = edgecd(texts, "-5 degrees")
    assert done.exit_code == 2
    assert 'edgecd predict BUNDLE -- "-5 degrees"' in " ".join(done.stderr.split())
    assert edgecd(texts, "--", "-5 degrees").stdout.strip() in tiny.LABELS


# Lines


def test_a_stream_keeps_order_and_ids(pairs: Path) -> None:
    predictor = Predictor.load(pairs, threads=1)
    rows = tiny.examples(CHUNK_ROWS + 3, seed=11)
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    lines.insert(1, b"\n")
    flat = [json.dumps({"id": 7, **rows[0]["fields"]}), json.dumps(rows[1]["fields"])]
    answers = list(predict_lines(predictor, [*lines, *(line.encode() for line in flat)]))
    assert [one.get("id") for one in answers] == [row["id"] for row in rows] + [7, None]
    expected = [one.label for one in predictor.predict_batch([row["fields"] for row in rows])]
    assert [one["label"] for one in answers[: len(rows)]] == expected
    assert "id" not in answers[-1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"1" * 5_000, "not valid JSON"),
        (b"3", "named fields"),
        (b'{"id": 9}', "is missing"),
        (b'{"premise": "\xff"}', "not UTF-8"),
        (b'{"premise": "\\ud800", "hypothesis": "b"}', "not valid Unicode"),
        (b'{"premise": "", "hypothesis": ""}', "empty"),
    ],
)
def test_a_bad_line_has_its_error_in_its_place(pairs: Path, bad: bytes, message: str) -> None:
    good = json.dumps(tiny.examples(1)[0]).encode()
    done = edgecd(pairs, "-", stdin=b"\xef\xbb\xbf" + good + b"\r\n\n" + bad + b"\n" + good)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.get("label") in tiny.LABELS for one in answers] == [True, False, True]
    assert answers[1]["error"].startswith("line 3: ") and message in answers[1]["error"]
    assert answers[1].get("id") == (9 if b"id" in bad else None)
    assert str(done.exception) == "1 of 3 lines have no answer: see their error"


def test_lines_in_utf16_are_refused(pairs: Path) -> None:
    done = edgecd(pairs, "-", stdin='{"premise": "a"}'.encode("utf-16"))
    assert isinstance(done.exception, InputError) and "UTF-16" in str(done.exception)


def test_a_stream_reads_no_further_than_its_chunk(pairs: Path) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b'{"premise": "a", "hypothesis": "b"}'

    stream = predict_lines(Predictor.load(pairs, threads=1), endless())
    for _ in range(CHUNK_ROWS + 1):
        next(stream)
    assert read == 2 * CHUNK_ROWS
