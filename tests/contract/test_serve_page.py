"""The page of `edgecd serve` in a real browser: a text, a table, wide and narrow, day and night."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from edgecd import Predictor
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from tests import tiny
from tests.browsing import open_browser, show

ROOT = Path(__file__).parents[2]
DIST = ROOT / "export" / "web" / "dist"
# What a screen reader says of each control: its label.
NAMELESS = """return [...document.querySelectorAll("input, textarea, select, button, progress")]
  .filter(one => one.offsetParent !== null && !one.labels?.length && !one.textContent.trim()
    && !one.getAttribute("aria-label") && !one.getAttribute("aria-labelledby"))
  .map(one => one.outerHTML)"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    run = tiny.tiny_run(folder / "run", max_length=48)
    export_run(run, folder / "bundle", ExportConfig(precision="int8", max_flips=100.0))
    return folder / "bundle"


@pytest.fixture(scope="module", params=["server", "browser"])
def address(request: pytest.FixtureRequest, bundle: Path) -> Iterator[str]:
    """Of the page with the model behind it, and of the one that runs the model."""
    command = [sys.executable, "-m", "edgecd", "serve", str(bundle), "--port", "0", "--json"]
    if request.param == "browser":
        if not (DIST / "index.html").is_file():
            pytest.skip("needs the page: (cd export/web && npm ci && npm run build:page)")
        command += ["--page", str(DIST)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["address"]
        server.kill()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with open_browser(tmp_path / "profile") as opened:
        yield opened


def found(browser: Any, selector: str) -> Any:
    """The element, once it is there and seen."""

    def seen(driver: Any) -> Any:
        one = driver.find_elements("css selector", selector)
        return one[0] if one and one[0].is_displayed() else False

    return WebDriverWait(browser, 60).until(seen)


def test_a_text_is_classified_by_keyboard_alone(browser: Any, bundle: Path, address: str) -> None:
    show(browser, address, 1280, "light")
    texts = {"premise": "The dog runs.", "hypothesis": "A cat sleeps."}
    found(browser, "#field-0").send_keys(texts["premise"])
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(texts["hypothesis"], Keys.CONTROL, Keys.ENTER)
    bars = found(browser, "#result .bars")
    expected = Predictor.load(bundle, threads=1).predict(texts)
    assert found(browser, "#verdict").text.split(",")[0].strip() == expected.label
    label, share = bars.text.splitlines()[:2]
    assert label == expected.label
    assert float(share.split()[0]) == pytest.approx(
        100 * max(expected.probabilities.values()), abs=2
    )
    assert " ms" in found(browser, "#result .numbers").text
    assert browser.find_element("id", "verdict").get_attribute("role") == "status"
    assert browser.execute_script(NAMELESS) == []
    assert browser.get_log("browser") == []


def test_a_table_is_labelled_and_a_row_without_text_ends_nothing(
    browser: Any, bundle: Path, address: str, tmp_path: Path
) -> None:
    rows = [[str(n), *row["fields"].values()] for n, row in enumerate(tiny.examples(30))]
    rows[3][1:] = ["", ""]
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["id", "premise", "hypothesis"], *rows])
    show(browser, address, 1280, "light")
    found(browser, "#field-0")
    allowed = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    browser.find_element("id", "table-file").send_keys(str(tmp_path / "in.csv"))
    found(browser, "#columns button").click()
    found(browser, "#table-result a").click()
    written = tmp_path / "in-labels.csv"
    WebDriverWait(browser, 60).until(lambda _: written.exists())
    with written.open(newline="", encoding="utf-8-sig") as stream:
        labelled = list(csv.DictReader(stream))
    assert [row["id"] for row in labelled] == [row[0] for row in rows]
    assert "empty" in labelled[3]["error"] and labelled[3]["label"] == ""
    good = [row for place, row in enumerate(labelled) if place != 3]
    fields = [{name: row[name] for name in ("premise", "hypothesis")} for row in good]
    expected = Predictor.load(bundle, threads=1).predict_batch(fields)
    assert [row["label"] for row in good] == [one.label for one in expected]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(browser: Any, address: str, scheme: str) -> None:
    show(browser, address, 390, scheme)
    found(browser, "#field-0").send_keys("word " * 20)
    browser.find_element("id", "field-1").send_keys("x" * 100)
    browser.find_element("id", "classify").click()
    found(browser, "#result .bars")
    browser.find_element("css selector", "#about summary").click()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, paper.removeprefix("rgb(").strip(")").split(",")))
    assert bright > 600 if scheme == "light" else bright < 200
