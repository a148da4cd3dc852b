"""A run whose student is an encoder becomes a bundle that answers as its checkpoint does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from edgecd.errors import InputError
from edgecd.export.config import ExportConfig
from edgecd.export.convert import export_run
from edgecd.formats.bundle import read_manifest
from edgecd.formats.contract import INPUTS, SEGMENTS
from edgecd.formats.manifest import MODEL
from edgecd.runtime.predictor import Predictor
from edgecd.runtime.verify import verify
from edgecd.tasks.encoding import encode_prompt
from tests import tiny
from tests.tiny_encoders import (
    ENCODERS,
    TEXT_TEMPLATE,
    TYPED,
    encoder_run,
    fitted_to_pairs,
    where_the_cat_is,
)

MAX_LENGTH = 64
ROWS: list[dict[str, str]] = [
    *(row["fields"] for row in tiny.examples(12, seed=3)),
    {"premise": "", "hypothesis": "the dog"},
    {"premise": "Žluťoučký kůň 🐎", "hypothesis": "[SEP] the [CLS] cat </s> <s>"},
    {"premise": tiny.sentence(5, 200), "hypothesis": tiny.sentence(6, 90)},  # too long
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {family: encoder_run(folder / family, family) for family in ENCODERS}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that has learned which of two texts has the cat."""
    run = tmp_path_factory.mktemp("fitted") / "run"
    return encoder_run(run, "bert", model=fitted_to_pairs(), rows=where_the_cat_is(400, seed=9))


def checkpoint_logits(run: Path, rows: list[dict[str, str]]) -> np.ndarray:
    """What transformers answers with its own tokenizer, one input at a time."""
    folder = run / "checkpoint"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    template = json.loads((run / "run.json").read_text(encoding="utf-8"))["task"]["template"]
    names = ["premise", "hypothesis"] if "hypothesis" in template else ["premise"]
    answers = []
    for row in rows:
        texts = [row[name] for name in names]
        given = tokenizer(
            *texts, truncation=True, max_length=MAX_LENGTH, split_special_tokens=True,
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            answers.append(model(**given).logits[0].numpy())
    return np.stack(answers)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found, expected, atol=tolerance * max(1, np.abs(expected).max()))


def matrices(bundle: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(bundle / MODEL).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    return {name: array for name, array in arrays.items() if array.ndim == 2}


# --- what a bundle answers ------------------------------------------------------------------


@pytest.mark.parametrize("family", ENCODERS)
def test_a_pair_is_answered_as_by_transformers(
    runs: dict[str, Path], tmp_path: Path, family: str
) -> None:
    done = export_run(runs[family], tmp_path / "out", ExportConfig(max_flips=0.0))
    assert (done["exporter"], done["prefix_tokens"]) == ("fused", 0)
    verify(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.form, manifest.format) == ("pair", 3)
    assert set(manifest.inputs) == {*INPUTS, *([SEGMENTS] if family in TYPED else [])}
    predictor = Predictor.load(tmp_path / "out", threads=1)
    found = predictor.logits(ROWS)
    assert_close(found[:-1], checkpoint_logits(runs[family], ROWS[:-1]))
    assert_close(np.concatenate([predictor.logits([row]) for row in ROWS]), found)
    assert [one.shortened for one in predictor.predict_batch(ROWS)][-2:] == [False, True]
    swapped = [{"premise": row["hypothesis"], "hypothesis": row["premise"]} for row in ROWS]
    assert np.abs(predictor.logits(swapped) - found).max() > 1e-2


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_text_is_answered_as_by_transformers(tmp_path: Path, family: Any) -> None:
    run = encoder_run(tmp_path / "run", family, template=TEXT_TEMPLATE)
    export_run(run, tmp_path / "out", ExportConfig(max_flips=0.0))
    assert read_manifest(tmp_path / "out").form == "text"
    predictor = Predictor.load(tmp_path / "out", threads=1)
    rows = [{"premise": row["premise"]} for row in ROWS if row["premise"]]
    assert_close(predictor.logits(rows)[:-1], checkpoint_logits(run, rows[:-1]))
    assert predictor.predict(rows[0]["premise"]).label in tiny.LABELS


def test_logits_are_those_of_a_pipeline(runs: dict[str, Path], tmp_path: Path) -> None:
    export_run(runs["bert"], tmp_path / "out")
    pipeline = transformers.pipeline(
        "text-classification", model=str(runs["bert"] / "checkpoint"), device="cpu"
    )
    predictor = Predictor.load(tmp_path / "out", threads=1)
    for row in ROWS[:4]:
        given = {"text": row["premise"], "text_pair": row["hypothesis"]}
        said = pipeline(given, function_to_apply="none", top_k=None)
        scores = {one["label"]: one["score"] for one in said}
        assert_close(predictor.logits([row])[0], np.array([scores[x] for x in predictor.labels]))


# --- precisions -----------------------------------------------------------------------------


def test_int8_of_a_fitted_model_flips_at_most_one_label_in_a_hundred(
    fitted: Path, tmp_path: Path
) -> None:
    done = export_run(fitted, tmp_path / "out", ExportConfig(precision="int8", max_flips=1.0))
    parity = done["parity"]
    assert parity["examples"] > 300 and parity["accuracy_checkpoint"] > 0.9
    assert (done["exporter"], done["treatment"]) == ("fused", "dynamic")
    verify(tmp_path / "out")
    whole = {
        name for name, array in matrices(tmp_path / "out").items() if array.dtype == np.float32
    }
    assert {name for name in whole if not name.endswith(".scale")} == {
        "score.weight",
        "block_64.rotation",
    }


@pytest.mark.parametrize(("precision", "limit"), [("fp16", 0.02), ("int8", 0.2), ("int4", 1.0)])
def test_every_precision_answers_nearly_as_the_checkpoint(
    runs: dict[str, Path], tmp_path: Path, precision: str, limit: float
) -> None:
    for family in ("bert", "distilbert", "roberta"):
        out = tmp_path / family
        export_run(runs[family], out, ExportConfig(precision=precision, max_flips=100.0))
        verify(out)
        found = Predictor.load(out, threads=1).logits(ROWS[:-1])
        assert tiny.relative_error(found, checkpoint_logits(runs[family], ROWS[:-1])) < limit


@pytest.mark.parametrize("family", ["deberta-v2", "electra", "modernbert"])
def test_a_family_without_a_fused_graph_is_traced(tmp_path: Path, family: Any) -> None:
    run = encoder_run(tmp_path / "run", family)
    expected = checkpoint_logits(run, ROWS[:-1])
    for precision, limit in (("fp32", 1e-4), ("int8", 0.2)):
        out = tmp_path / precision
        done = export_run(run, out, ExportConfig(precision=precision, max_flips=100.0))
        assert done["exporter"] == "torch"
        verify(out)
        found = Predictor.load(out, threads=1).logits(ROWS[:-1])
        assert tiny.relative_error(found, expected) < limit
    with pytest.raises(InputError, match=rf"--fp16 needs a fused graph.*{family}"):
        export_run(run, tmp_path / "half", ExportConfig(precision="fp16"))


# --- a smaller vocabulary -------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_trimmed_bundle_answers_as_the_checkpoint(
    runs: dict[str, Path], tmp_path: Path, family: str
) -> None:
    held = (runs[family] / "heldout.jsonl").read_text(encoding="utf-8")
    rows = ROWS[:12]
    lines = [held, *(json.dumps({"fields": row}) + "\n" for row in rows)]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(lines), encoding="utf-8")
    out = tmp_path / "out"
    export_run(runs[family], out, ExportConfig(trim_vocab=corpus, max_flips=0.0))
    verify(out)
    predictor = Predictor.load(out, threads=1)
    assert_close(predictor.logits(rows), checkpoint_logits(runs[family], rows))
    said = read_manifest(out).provenance["vocabulary"]
    assert said["kept"] == len(matrices(out)["embed_tokens.weight"]) < said["of"]
    assert said["texts"] == 52
    template = predictor.template
    for row in ROWS:  # of any letters
        assert len(encode_prompt(predictor.tokenizer, template, row, MAX_LENGTH).ids) > 3
