"""An encoder's bundle in transformers.js's layout: what its pipeline looks for, and finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

transformers = pytest.importorskip("transformers")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

from edgecd.console import Reporter  # noqa: E402
from edgecd.errors import CheckFailed, InputError  # noqa: E402
from edgecd.export.config import ExportConfig  # noqa: E402
from edgecd.export.convert import export_run  # noqa: E402
from edgecd.formats.bundle import read_manifest  # noqa: E402
from edgecd.runtime.inspect import describe  # noqa: E402
from edgecd.runtime.predictor import Predictor, softmax  # noqa: E402
from edgecd.runtime.verify import verify  # noqa: E402
from tests import tiny  # noqa: E402
from tests.tiny_encoders import TEXT_TEMPLATE, encoder_run  # noqa: E402

CHECKER = Path(__file__).parents[2] / "export" / "check_bundle.py"
GRAPH = "onnx/model_quantized.onnx"


def exported(folder: Path, family: Any, precision: str = "int8") -> Path:
    run = encoder_run(folder / "run", family, template=TEXT_TEMPLATE)
    settings = run / "checkpoint" / "tokenizer_config.json"
    kept = json.loads(settings.read_text()) | {"name_or_path": "/home/me", "max_length": 9}
    settings.write_text(json.dumps(kept))
    config = ExportConfig(precision=precision, layout="transformers.js", max_flips=100.0)
    export_run(run, folder / "bundle", config)
    return folder / "bundle"


@pytest.fixture(scope="module", params=["bert", "roberta"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("tfjs"), request.param)


def test_the_graph_is_the_same_file_and_everything_is_listed(bundle: Path) -> None:
    there = {
        path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
    } - {"manifest.json"}
    manifest = read_manifest(bundle)
    assert set(manifest.files) == there >= {GRAPH, "config.json", "tokenizer_config.json"}
    assert (bundle / GRAPH).samefile(bundle / "model.onnx")
    on_disk = sum(path.stat().st_size for path in bundle.iterdir() if path.is_file())
    assert describe(bundle)["size_bytes"] == on_disk
    verify(bundle)
    assert 'pipeline("text-classification", "bundle")' in (bundle / "README.md").read_text()


def test_the_settings_are_what_the_library_reads(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    manifest = read_manifest(bundle)
    assert [config["id2label"][str(n)] for n in range(2)] == list(manifest.labels)
    assert config["transformers.js_config"] == {"dtype": "q8"}
    assert config["model_type"] in ("bert", "roberta")
    tokenizer = json.loads((bundle / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == manifest.max_length
    assert tokenizer["tokenizer_class"] and tokenizer["pad_token"]
    assert "/home/me" not in json.dumps([config, tokenizer]) and "max_length" not in tokenizer


def test_it_answers_as_the_predictor(bundle: Path) -> None:
    """As the library does it: the folder's tokenizer, int64 in, the softmax of `logits` out."""
    session = ort.InferenceSession(bundle / GRAPH)
    inputs = {one.name: one.type for one in session.get_inputs()}
    assert set(inputs.values()) == {"tensor(int64)"}
    assert set(inputs) <= {"input_ids", "attention_mask", "token_type_ids"}
    assert [one.name for one in session.get_outputs()] == ["logits"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundle)
    predictor = Predictor.load(bundle, threads=1)
    for text in [row["fields"]["premise"] for row in tiny.examples(12, seed=5)]:
        given = tokenizer(text, truncation=True, return_tensors="np", return_token_type_ids=True)
        feed = {name: given[name].astype(np.int64) for name in inputs}
        shares = softmax(session.run(["logits"], feed)[0])[0]
        expected = predictor.predict(text).probabilities
        assert dict(zip(predictor.labels, shares, strict=True)) == pytest.approx(expected, abs=1e-5)


def test_a_copy_that_holds_the_graph_twice_is_as_good(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert not (copy / GRAPH).samefile(copy / "model.onnx")
    verify(copy)
    done = subprocess.run([sys.executable, CHECKER, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    with (copy / GRAPH).open("r+b") as graph:
        graph.seek(100)
        graph.write(b"\xff")
    with pytest.raises(CheckFailed, match="model_quantized"):
        verify(copy)
    shutil.rmtree(copy / "onnx")
    (copy / "onnx").symlink_to(bundle / "onnx")
    with pytest.raises(CheckFailed, match="plain file"):
        verify(copy)


def test_each_precision_has_its_name(tmp_path: Path) -> None:
    folder = exported(tmp_path, "distilbert", "fp32")
    assert (folder / "onnx" / "model.onnx").samefile(folder / "model.onnx")
    config = json.loads((folder / "config.json").read_text())
    assert config["transformers.js_config"] == {"dtype": "fp32"}


def test_what_the_library_cannot_load_is_refused_or_said(tmp_path: Path) -> None:
    asked = ExportConfig(layout="transformers.js")
    with pytest.raises(InputError, match="tiny-llama is a decoder"):
        export_run(tiny.tiny_run(tmp_path / "llama", heldout=8), tmp_path / "out", asked)
    said: list[str] = []
    reporter = Reporter(said.append, lambda *_: None)
    export_run(encoder_run(tmp_path / "pairs", "bert"), tmp_path / "out", asked, False, reporter)
    assert any("pairs go to its tokenizer and model" in line for line in said)
    with pytest.raises(InputError, match="--for onnx: choose one of transformers.js"):
        ExportConfig(layout="onnx")
    with pytest.raises(InputError, match="--for"):
        ExportConfig(layout="transformers.js", task="mnli")
