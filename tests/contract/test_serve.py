"""`edgecd serve`: a page and an endpoint on this computer, for this computer."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette import testclient

from edgecd import Predictor
from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.serve.app import MAX_BODY_BYTES, MAX_INPUTS, PAGE, make_app
from edgecd.serve.config import LOCAL, ServeConfig
from edgecd.serve.run import listening
from tests import tiny

ROOT = Path(__file__).parents[2]
TEXT = {"premise": "the dog runs", "hypothesis": "the cat"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    run = tiny.tiny_run(folder / "run", max_length=48)
    export_run(run, folder / "bundle", ExportConfig())
    return folder / "bundle"


@pytest.fixture(scope="module")
def client(bundle: Path) -> Any:
    app = make_app(Predictor.load(bundle, threads=1), bundle, LOCAL)
    return testclient.TestClient(
        app, base_url="http://localhost:8000", raise_server_exceptions=False
    )


def test_one_input_is_answered_as_by_the_predictor(client: Any, bundle: Path) -> None:
    found = client.post("/predict", json={"input": TEXT}).json()
    expected = Predictor.load(bundle, threads=1).predict(TEXT)
    assert found.pop("milliseconds") > 0
    assert found == {
        "label": expected.label,
        "unsure": False,
        "probabilities": pytest.approx(expected.probabilities),
        "shortened": False,
    }


def test_many_inputs_keep_their_order_and_a_threshold_makes_answers_unsure(client: Any) -> None:
    rows = [row["fields"] for row in tiny.examples(40)]
    found = client.post("/predict", json={"inputs": rows}).json()["answers"]
    alone = [client.post("/predict", json={"input": row}).json()["label"] for row in rows]
    assert [one["label"] for one in found] == alone
    unsure = client.post("/predict", json={"inputs": rows, "threshold": 1}).json()["answers"]
    assert {(one["label"], one["unsure"]) for one in unsure} == {(None, True)}
    assert client.post("/predict", json={"inputs": []}).json()["answers"] == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "not valid JSON"),
        ("[" * 100_000, 400, "not valid JSON"),
        ("[]", 400, "expected an object"),
        ("{}", 400, "give one input"),
        (json.dumps({"input": TEXT, "inputs": [TEXT]}), 400, "give one input"),
        (json.dumps({"input": "plain"}), 400, "premise, hypothesis"),
        (json.dumps({"input": 3}), 400, "text or named fields"),
        (json.dumps({"inputs": TEXT}), 400, "must be a list"),
        (json.dumps({"inputs": [TEXT, {"premise": "x"}]}), 400, "input 1: field 'hypothesis'"),
        (json.dumps({"inputs": [TEXT] * (MAX_INPUTS + 1)}), 400, "at most 1000"),
        (json.dumps({"input": {"premise": "\ud800", "hypothesis": ""}}), 400, "not valid Unicode"),
        (json.dumps({"input": TEXT, "threshold": 2}), 400, "from 0 to 1"),
        (json.dumps({"input": TEXT, "threshold": True}), 400, "from 0 to 1"),
        ('{"input": "x", "threshold": NaN}', 400, "from 0 to 1"),
        (json.dumps({"input": TEXT, "treshold": 1}), 400, "unknown key 'treshold'"),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', 413, "the body is over"),
    ],
)
def test_a_wrong_request_is_one_line_of_json(
    client: Any, body: str | bytes, status: int, words: str
) -> None:
    found = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert (found.status_code, list(found.json())) == (status, ["error"])
    assert words in found.json()["error"] and "\n" not in found.json()["error"]


def test_what_is_not_there_is_json_too(client: Any) -> None:
    for method, path, status in (("GET", "/none", 404), ("GET", "/predict", 405)):
        found = client.request(method, path)
        assert (found.status_code, list(found.json())) == (status, ["error"])
    for path in ("/files/model.onnx", "/../app.py", "/..%2fapp.py", "/%2e%2e/app.py"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""]
)
def test_another_host_is_refused_whatever_is_asked(client: Any, host: str) -> None:
    for path in ("/", "/health", "/bundle"):
        assert client.get(path, headers={"host": host}).status_code == 400
    assert client.post("/predict", json={"input": TEXT}, headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_this_computer_is_let_in(client: Any, host: str) -> None:
    assert client.get("/health", headers={"host": host}).json() == {"status": "ok"}


def test_a_form_or_script_of_another_site_gets_nothing(client: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        body = json.dumps({"input": TEXT})
        assert (
            client.post("/predict", content=body, headers={"content-type": kind}).status_code == 415
        )
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (client.options("/predict", headers=asked), client.get("/bundle", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    policy = client.get("/").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy


def test_the_page_is_there_and_the_bundle_says_what_it_is(client: Any, bundle: Path) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "<title>edgecd</title>" in page.text
    assert client.get("/assets/index.js").headers["content-type"].startswith("text/javascript")
    about = client.get("/bundle").json()
    assert (about["task"], about["fields"]) == ("tiny-nli", ["premise", "hypothesis"])
    assert about["labels"] == list(tiny.LABELS) and str(bundle.parent) not in json.dumps(about)


def test_the_built_page_is_small_and_asks_for_nothing_elsewhere() -> None:
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert "//" not in html.replace("http://www.w3.org/2000/svg", "").replace("https://…", "")


def test_another_page_gets_the_bundles_files_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    (bundle / "notes.txt").write_text("private")
    app = make_app(Predictor.load(bundle, threads=1), bundle, LOCAL, tmp_path)
    client = testclient.TestClient(app, base_url="http://localhost")
    assert client.get("/").text == "mine"
    for name in ("manifest.json", "model.onnx", "tokenizer.json"):
        assert client.get(f"/files/{name}").content == (bundle / name).read_bytes()
    for name in ("notes.txt", "..%2frun%2frun.json", "context.safetensors", ""):
        assert client.get(f"/files/{name}").status_code == 404


def test_a_server_for_others_needs_names_and_one_for_this_computer_none() -> None:
    assert ServeConfig().names == LOCAL
    with pytest.raises(InputError, match="--allow-host"):
        ServeConfig(host="0.0.0.0")
    names = ServeConfig(host="0.0.0.0", allow_host=("box.lan",)).names
    assert set(names) == {*LOCAL, "0.0.0.0", "box.lan"}
    assert ServeConfig(host="::1").address == "[::1]"


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} .*--port"):
            listening("127.0.0.1", port)
    with pytest.raises(InputError, match="cannot listen on"):
        listening("no.such.host.invalid", 0)


def test_the_command_serves_until_it_is_interrupted(bundle: Path) -> None:
    command = [sys.executable, "-m", "edgecd", "serve", str(bundle), "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["address"]
            asked = urllib.request.Request(
                f"{address}predict",
                json.dumps({"input": TEXT}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert json.load(answer)["label"] in tiny.LABELS
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0
        finally:
            server.kill()
