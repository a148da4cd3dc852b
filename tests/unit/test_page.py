"""The report page: safe with any name, whole without the network, and with or without figures."""

from __future__ import annotations

import importlib.util
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgecd.bench.report.page import page
from edgecd.bench.report.write import write_reports
from tests.reports import STUDENT, small_report, synthetic_report
from tests.reports import read as read_report

VOID = {"meta", "link", "br", "img"}
# Attributes that make a browser fetch something.
FETCHED = {"src", "href", "data", "action", "poster", "srcset", "xlink:href"}
NASTY = '<script>alert("x")</script>&amp;$1`'


class Reader(HTMLParser):
    """Collects tags, what would be fetched, and the text of each table; checks the nesting."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.cells: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in FETCHED]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes what is not open"

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def renamed(report: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return json.loads(json.dumps(report).replace(json.dumps(old), json.dumps(new)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("report")
    write_reports(read_report(small_report()), folder)
    return folder


def test_the_page_is_one_file_with_every_row_and_every_figure(written: Path) -> None:
    text = (written / "report.html").read_text()
    reader = read(text)
    assert all(link.startswith(("#", "data:")) for link in reader.fetched)
    assert "@import" not in text and "url(http" not in text and "script" not in reader.tags
    assert {row["system"] for row in small_report()["rows"]} <= set(reader.cells)
    drawn = sorted(path.name for path in (written / "figures").glob("*.svg"))
    assert reader.tags.count("svg") == reader.tags.count("figcaption") == len(drawn) >= 7
    assert len(reader.ids) == len(set(reader.ids))
    assert text.count('role="img" aria-label="') == len(drawn)
    for address in ("http://", "https://"):
        assert address not in text


def test_the_answer_comes_before_everything_else() -> None:
    text = page(read_report(synthetic_report()), None)
    order = [
        "Probably ship the student: <code>cd-lora-int8</code> looks as good as the prompt that it "
        "replaces, but 1000 examples are too few to be sure.</p>",
        "Accuracy 0.739 against 0.754, difference -0.015 [-0.036, +0.006]. On this machine it ",
        "<table>",
        "Details",
        "Notes",
    ]
    assert [text.index(one) for one in order] == sorted(text.index(one) for one in order)


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    report = renamed(small_report(), STUDENT, NASTY)
    report = renamed(report, "mnli-binary", "<b>task</b>")
    report["ood"], report["notes"] = ["<i>hans</i>", "snli-binary"], ["<u>note</u>"]
    for row in report["rows"]:
        row["ood_accuracy"]["<i>hans</i>"] = row["ood_accuracy"].pop("hans")
    report["machine"]["cpu"] = "<s>CPU</s>"
    write_reports(read_report(report), tmp_path)
    text = (tmp_path / "report.html").read_text()
    reader = read(text)
    assert not {"script", "b", "i", "u", "s"} & set(reader.tags)
    assert NASTY in reader.cells
    assert "&lt;s&gt;CPU&lt;/s&gt;" in text and "&lt;u&gt;note&lt;/u&gt;" in text


def test_without_matplotlib_the_page_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "latency.svg").write_text("of an earlier report")
    write_reports(read_report(synthetic_report()), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "pip install 'edgecd[report]'" in text and "svg" not in read(text).tags
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["report.html", "report.json", "report.md"]


def test_a_report_without_the_newer_keys_makes_a_page() -> None:
    report = synthetic_report()
    for key in ("reference", "rounds", "noise"):
        del report[key]
    newer = {"draws", "rounds", "p50_spread", "groups", "faster_than", "training"}
    report["rows"] = [
        {key: value for key, value in row.items() if key not in newer} for row in report["rows"]
    ]
    for row in report["rows"]:
        row["ood_accuracy"] = dict.fromkeys(row["ood_accuracy"])
        row["accuracy_minus_teacher"] = {"difference": 0.0, "ci95": [0.0, 0.0]}
    cells = read(page(read_report(report), None)).cells
    assert STUDENT in cells and "McNemar p" not in cells and "over draws" not in cells


def test_few_figures_for_little_data(tmp_path: Path) -> None:
    report = synthetic_report(ood=[])
    report["rows"] = [row for row in report["rows"] if row["system"] == STUDENT]
    report["rows"][0] |= {"faster_than": None, "training": None, "ood_accuracy": {}}
    write_reports(read_report(report), tmp_path)
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.svg")) == [
        "footprint",
        "latency",
    ]
    write_reports(read_report(synthetic_report(rows=[], reference=None)), tmp_path)
    assert list((tmp_path / "figures").iterdir()) == []
