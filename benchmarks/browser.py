"""A bundle in headless Chromium: its labels beside Python's, bytes, load, time and memory.

    (cd export/web && npm ci --ignore-scripts && npm run build:page)
    python benchmarks/browser.py BUNDLE TEXTS.jsonl --out result.json

TEXTS.jsonl has the fields of the bundle's template; the first `--limit` lines are labelled through
the page's own table, and those of 40 to 50 tokens are timed, one at a time, through its own form.
Needs chromium and chromedriver on PATH, and edgecd[cpu,serve] and selenium.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from edgecd import Predictor
from edgecd.serve.app import make_app
from edgecd.serve.config import LOCAL

PAGE = Path(__file__).parents[1] / "export" / "web" / "dist"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-blink-features=ForceEagerMeasureMemory",
)
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
SYSTEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wasm-1": ("&threads=1", ()),
    "wasm-2": ("&threads=2", ()),
    "webgpu": ("&webgpu=1", WEBGPU),
}
TOKENS = (40, 50)
SUBMIT = """
const [values, done] = arguments, began = performance.now();
document.querySelectorAll("#fields textarea").forEach((area, n) => { area.value = values[n]; });
const result = document.getElementById("result");
const seen = new MutationObserver(() => {
  seen.disconnect();
  done([performance.now() - began, result.querySelector(".numbers").textContent]);
});
seen.observe(result, { childList: true });
document.getElementById("one-form").requestSubmit();
"""
MEMORY = """
const done = arguments[0];
performance.measureUserAgentSpecificMemory().then(m => done(m.bytes), e => done(String(e)));
"""
ADAPTER = """
const done = arguments[0];
if (!navigator.gpu) done(null);
else navigator.gpu.requestAdapter().then(
  a => done(a ? [a.info.vendor, a.info.architecture, a.info.description].join(" ") : null),
  () => done(null));
"""


@contextmanager
def served(app: Any) -> Iterator[tuple[str, dict[str, int]]]:
    """(address, bytes sent by path) of the app, on a free port of this computer."""
    sent: dict[str, int] = {}

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        async def count(message: Any) -> None:
            if message["type"] == "http.response.body":
                sent[scope["path"]] = sent.get(scope["path"], 0) + len(message.get("body", b""))
            await send(message)

        await app(scope, receive, count)

    server = uvicorn.Server(uvicorn.Config(counted, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/", sent
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def browser(flags: tuple[str, ...] = ()) -> Iterator[Any]:
    """Headless Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        driver.set_script_timeout(300)
        driver.set_page_load_timeout(300)
        driver.command_executor.client_config.timeout = 900
        try:
            yield driver
        finally:
            driver.quit()


def open_page(driver: Any, address: str) -> float:
    """Load the page with the bundle; seconds until it can be used."""
    began = time.perf_counter()
    driver.get(address)
    script = "return ['ready', 'error'].find(x => !document.getElementById(x).hidden)"
    found = WebDriverWait(driver, 300, 0.02).until(lambda d: d.execute_script(script))
    if found == "error":
        raise SystemExit(driver.execute_script("return document.getElementById('error').innerText"))
    return time.perf_counter() - began


def table_labels(driver: Any, rows: list[dict[str, str]]) -> list[str]:
    """The labels of the rows, as the page writes them into its CSV file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        driver.find_element("id", "table-file").send_keys(str(path))
        WebDriverWait(driver, 60).until(
            lambda d: d.find_elements("css selector", "#columns button")
        )
        driver.find_element("css selector", "#columns button").click()
        done = WebDriverWait(driver, 3600, 0.2)
        done.until(lambda d: d.find_elements("css selector", "#table-result a"))
        allowed = {"behavior": "allow", "downloadPath": folder}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        driver.find_element("css selector", "#table-result a").click()
        written = Path(folder) / "rows-labels.csv"
        WebDriverWait(driver, 60).until(lambda d: written.exists())
        with written.open(newline="", encoding="utf-8-sig") as stream:
            return [row["label"] for row in csv.DictReader(stream)]


def processor_seconds(driver: Any) -> float:
    """What all of the browser's processes have computed, which other work does not lengthen."""
    whole = psutil.Process(driver.service.process.pid)
    times = [one.cpu_times() for one in whole.children(recursive=True)]
    return sum(one.user + one.system for one in times)


def timed(driver: Any, rows: list[list[str]], runs: int) -> dict[str, float]:
    """Milliseconds of one answer: what the page shows, until it is seen, and computed in all."""
    for row in rows[:5]:
        driver.execute_async_script(SUBMIT, row)
    shown, seen = [], []
    began = processor_seconds(driver)
    for number in range(runs):
        whole, words = driver.execute_async_script(SUBMIT, rows[number % len(rows)])
        seen.append(whole)
        shown.append(float(words.split(" ms")[0]))
    computed = (processor_seconds(driver) - began) / runs
    cut = statistics.quantiles(shown, n=20)
    return {
        "computed_ms": round(computed * 1000, 1),
        "p50_ms": round(statistics.median(shown), 1),
        "p95_ms": round(cut[-1], 1),
        "p5_ms": round(cut[0], 1),
        "p50_seen_ms": round(statistics.median(seen), 1),
    }


def measure(
    bundle: Path, lines: list[dict[str, Any]], runs: int, systems: list[str]
) -> dict[str, Any]:
    """Every figure of these SYSTEMS; WebGPU where Chromium has it here."""
    predictor = Predictor.load(bundle, threads=1)
    names = predictor.template.fields
    rows = [{name: str(line[name]) for name in names} for line in lines]
    lengths = [len(one.ids) for one in predictor.encode(rows)]
    near = [row for row, n in zip(rows, lengths, strict=True) if TOKENS[0] <= n <= TOKENS[1]]
    expected = [one.label or "" for one in predictor.predict_batch(rows)]
    began = time.process_time()
    for row in near:
        predictor.predict(row)
    native = (time.process_time() - began) / len(near)
    result: dict[str, Any] = {
        "bundle_bytes": sum(one.stat().st_size for one in bundle.iterdir()),
        "texts": len(rows),
        "timed_tokens": [min(TOKENS), max(TOKENS)],
        "python_computed_ms": round(native * 1000, 1),
    }
    for name in systems:
        query, flags = SYSTEMS[name]
        app = make_app(predictor, bundle, LOCAL, PAGE)
        with browser(flags) as driver:
            with served(app) as (address, sent):
                page = f"{address}?bundle=files/{query}"
                load = open_page(driver, page)
                adapter = driver.execute_async_script(ADAPTER) if flags else ""
                if adapter is None:
                    result[name] = "no adapter"
                    continue
                found: dict[str, Any] = {
                    "load_s": round(load, 2),
                    "download_bytes": sum(sent.values()),
                    **timed(driver, [list(row.values()) for row in near], runs),
                    "memory_bytes": driver.execute_async_script(MEMORY),
                }
                if flags:
                    found["adapter"] = adapter
                labels = table_labels(driver, rows)
                found["same_labels"] = sum(a == b for a, b in zip(labels, expected, strict=True))
                before = sum(sent.values())
                found["load_again_s"] = round(open_page(driver, page), 2)
                found["download_again_bytes"] = sum(sent.values()) - before
            found["load_offline_s"] = round(open_page(driver, page), 2)  # the server is gone
            found["console"] = [
                entry["message"]
                for entry in driver.get_log("browser")
                if "manifest.json" not in entry["message"]  # which an offline page asks for first
            ]
            found["load_average"] = round(os.getloadavg()[0], 1)
            result[name] = found
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with given.texts.open(encoding="utf-8") as stream:
        lines = [json.loads(line) for _, line in zip(range(given.limit), stream, strict=False)]
    text = json.dumps(measure(given.bundle, lines, given.runs, given.systems), indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
