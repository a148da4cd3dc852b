"""The report page in a real browser: it shows, quietly, on wide and narrow screens, by day and
by night."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("selenium")

from edgecd.bench.report.write import write_reports
from tests.browsing import open_browser, show
from tests.reports import read, synthetic_report

FIGURES = """return [...document.querySelectorAll("figure svg")].map(svg => {
  const box = svg.getBoundingClientRect(); return [box.width, box.height]; })"""
COLORS = """const style = getComputedStyle(document.body);
  const ink = getComputedStyle(document.querySelector("figure svg text")).fill;
  return [style.backgroundColor, style.color, ink]"""
# Texts of figures that stick out of their drawing.
CUT_OFF = """return [...document.querySelectorAll("figure svg")].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const one = text.getBoundingClientRect();
    return one.left < box.left - 2 || one.right > box.right + 2
      || one.top < box.top - 2 || one.bottom > box.bottom + 2;
  }).map(text => text.textContent) })"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    report = synthetic_report()
    report["rows"][-1]["system"] = "a-bundle-with-a-very-long-name-" * 3
    write_reports(read(report), folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_renders(browser: Any, address: str, width: int, scheme: str) -> None:
    show(browser, address, width, scheme)
    assert browser.title == "Benchmark: mnli-binary"
    assert browser.get_log("browser") == []
    sizes = browser.execute_script(FIGURES)
    assert len(sizes) >= 7 and all(w > 100 and h > 100 for w, h in sizes)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CUT_OFF) == []


def test_the_night_is_dark_and_everything_is_legible_in_it(browser: Any, address: str) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        show(browser, address, 1280, scheme)
        found = browser.execute_script(COLORS)
        levels = [
            sum(map(int, color.removeprefix("rgb(").strip(")").split(","))) for color in found
        ]
        shades[scheme] = levels
        paper, *inks = levels
        assert all(abs(ink - paper) > 400 for ink in inks)
    assert shades["light"][0] > 600 > 200 > shades["dark"][0]


def test_wide_tables_scroll_in_their_own_box(browser: Any, address: str) -> None:
    show(browser, address, 390, "light")
    overflow = browser.execute_script(
        "const box = document.querySelector('.scroll'); box.scrollLeft = 200;"
        "return [box.scrollWidth > box.clientWidth, box.scrollLeft]"
    )
    assert overflow == [True, 200]
