"""The examples of `export/examples` answer as the predictor does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")

from edgecd import Predictor
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.formats.bundle import read_manifest
from edgecd.formats.manifest import MODEL, TOKENIZER
from tests import tiny
from tests.tiny_encoders import TEXT_TEMPLATE, encoder_run

EXPORT = Path(__file__).parents[2] / "export"
EXAMPLES = EXPORT / "examples"
NODE = shutil.which("node")
# A real encoder's bundle, and texts as JSON lines, for the check by hand.
BUNDLE, TEXTS = os.environ.get("EDGECD_ENCODER_BUNDLE"), os.environ.get("EDGECD_TEXTS")
ODD = (
    "The dog runs.",
    "naïve café 漢字 🙂",
    "[SEP] </s> <pad>",
    "It's {premise}\n\n done, isn't it?",
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("examples")
    made = {
        "prompt": (tiny.tiny_run(folder / "llama", "llama"), "int8"),
        "pair": (encoder_run(folder / "bert", "bert"), "fp32"),
        "text": (encoder_run(folder / "roberta", "roberta", TEXT_TEMPLATE), "int8"),
    }
    for name, (run, precision) in made.items():
        export_run(run, folder / name, ExportConfig(precision=precision, max_flips=100.0))
    return {name: folder / name for name in made}


def call(*command: str | Path, given: str = "") -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, input=given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_same(found: dict[str, Any], bundle: Path, texts: tuple[str, ...], close: float) -> None:
    predictor = Predictor.load(bundle, threads=1)
    fields = dict(zip(predictor.template.fields, texts, strict=True))
    expected = predictor.predict(fields)
    assert found["label"] == expected.label, texts
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=close), texts


def texts_for(bundle: Path) -> list[tuple[str, ...]]:
    count = len(read_manifest(bundle).prompt.fields)
    return [tuple(ODD[(place + n) % len(ODD)] for n in range(count)) for place in range(len(ODD))]


@pytest.mark.parametrize("form", ["prompt", "pair", "text"])
def test_python_without_edgecd(bundles: dict[str, Path], form: str) -> None:
    code = (
        "import sys, runpy; sys.modules['edgecd'] = None; del sys.argv[0]\n"
        f"runpy.run_path({str(EXAMPLES / 'predict.py')!r})"
    )
    for texts in texts_for(bundles[form]):
        out = call(sys.executable, "-c", code, "predict.py", bundles[form], *texts)
        assert_same(json.loads(out), bundles[form], texts, 1e-6)


@pytest.mark.parametrize("form", ["prompt", "pair", "text"])
def test_node(bundles: dict[str, Path], form: str) -> None:
    if NODE is None or not (EXPORT / "web" / "lib").is_dir():
        pytest.skip("needs node, and export/web built: (cd export/web && npm ci && npm run build)")
    for texts in texts_for(bundles[form]):
        out = call(NODE, EXAMPLES / "predict.mjs", bundles[form], *texts)
        assert_same(json.loads(out), bundles[form], texts, 5e-3)


def transformers_js_folder(bundle: Path, folder: Path) -> Path:
    """The layout that transformers.js reads, of a BERT's bundle."""
    labels = read_manifest(bundle).labels
    (folder / "onnx").mkdir(parents=True)
    shutil.copyfile(bundle / MODEL, folder / "onnx" / "model_quantized.onnx")
    shutil.copyfile(bundle / TOKENIZER, folder / TOKENIZER)
    names = {"id2label": dict(enumerate(labels)), "label2id": {x: n for n, x in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **names}))
    length = read_manifest(bundle).max_length
    tokenizer = {"tokenizer_class": "BertTokenizer", "model_max_length": length}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def test_transformers_js(tmp_path: Path) -> None:
    example = EXAMPLES / "transformers-js"
    if NODE is None or not (example / "node_modules").is_dir():
        pytest.skip(f"needs node, and its packages: (cd {example} && npm ci --ignore-scripts)")
    if BUNDLE is None or TEXTS is None:
        run = encoder_run(tmp_path / "run", "bert", TEXT_TEMPLATE)
        export_run(run, tmp_path / "bundle", ExportConfig(max_flips=100.0))
        bundle, texts = tmp_path / "bundle", [tiny.sentence(n) for n in range(20)]
    else:
        bundle = Path(BUNDLE)
        with Path(TEXTS).open(encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for _, line in zip(range(50), lines, strict=False)]
    folder = transformers_js_folder(bundle, tmp_path / "folder")
    out = call(NODE, example / "classify.mjs", folder, given=json.dumps(texts)).splitlines()
    assert len(out) == len(texts)
    for line, text in zip(out, texts, strict=True):
        assert_same(json.loads(line), bundle, (text,), 0.02)
