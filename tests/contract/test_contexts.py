"""Contexts on the device: a bundle of a frozen language model answers as PyTorch does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

import torch

from edgecd import Predictor
from edgecd.contexts.compress import compress
from edgecd.contexts.config import CompressConfig
from edgecd.errors import CheckFailed, InputError
from edgecd.export.config import ExportConfig
from edgecd.export.language_model import export_language_model
from edgecd.formats.context import Context, read_context, write_context
from edgecd.lm.models import load_language_model
from edgecd.lm.past import prefix_of
from edgecd.lm.scorer import label_logits, make_scorer
from edgecd.runtime.verify import verify
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.task import Task, load_task
from tests import tiny

CPU = torch.device("cpu")


def make_task(folder: Path) -> Task:
    """The tiny task with data."""
    for split, seed in (("train", 3), ("validation", 4)):
        rows = [{**row["fields"], "label": row["label"]} for row in tiny.examples(80, seed)]
        tiny.write_jsonl(folder / f"{split}.jsonl", rows)
    (folder / "task.toml").write_text(tiny.TASK, encoding="utf-8")
    return load_task(str(folder / "task.toml"))


def keep(task: Task, path: Path, **options: Any) -> None:
    """Compress the task's demonstrations as `options` say into the context file `path`."""
    config = CompressConfig(task=task.source, **options)
    write_context(path, compress(config), config.precision)


def make_model(folder: Path, family: tiny.Family, seed: int = 0) -> str:
    tokenizer = tiny.tiny_tokenizer(bos=family == "opt")
    model = tiny.tiny_causal_lm(family, len(tokenizer), seed)
    return str(tiny.save_model(model, tokenizer, folder))


def torch_answers(model: str, context: Context, rows: list[dict[str, str]]) -> np.ndarray:
    """What PyTorch answers after the context."""
    lm = load_language_model(model, CPU, torch.float32)
    scorer = make_scorer(lm, context.facts.prompt)
    queries = [
        encode_prompt(lm.text_tokenizer, context.facts.prompt, row, 64, after_context=True).ids
        for row in rows
    ]
    logits = label_logits(scorer, queries, prefix_of(context.past, lm))
    return logits - np.array(context.facts.calibration, np.float32)


@pytest.mark.parametrize("family", tiny.FUSED)
def test_a_bundle_takes_any_context_of_its_model_and_answers_as_pytorch(
    family: tiny.Family, tmp_path: Path
) -> None:
    task, model = make_task(tmp_path), make_model(tmp_path / "model", family)
    export_language_model(model, task, tmp_path / "bundle", max_length=64)
    rows = [row["fields"] for row in tiny.examples(24, seed=9)]
    answers = {}
    for shots in (0, 4, 8):
        path = tmp_path / f"{shots}.safetensors"
        keep(task, path, model=model, shots=shots, max_length=64, precision="fp16")
        context = read_context(path)
        predictor = Predictor.load(tmp_path / "bundle", context=path)
        answers[shots] = predictor.logits(rows)
        expected = torch_answers(model, context, rows)
        np.testing.assert_allclose(answers[shots], expected, atol=1e-3)
    assert np.abs(answers[0] - answers[4]).max() > 0.01  # a context changes what is answered
    built_in = Predictor.load(tmp_path / "bundle").logits(rows)
    np.testing.assert_allclose(built_in, answers[0], atol=1e-5)  # zero-shot is what is inside
    assert verify(tmp_path / "bundle")["ok"]


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_small_bundles_take_contexts_too(precision: str, tmp_path: Path) -> None:
    task, model = make_task(tmp_path), make_model(tmp_path / "model", "llama")
    path = tmp_path / "shots.safetensors"
    keep(task, path, model=model, shots=4, max_length=64)
    bundle = tmp_path / "bundle"
    export_language_model(
        model, task, bundle, ExportConfig(precision=precision, max_flips=60.0, context=path)
    )
    other = tmp_path / "other.safetensors"
    keep(task, other, model=model, shots=6, seed=5, max_length=64)
    rows = [row["fields"] for row in tiny.examples(40, seed=9)]
    for file in (path, other):
        found = Predictor.load(bundle, context=file).logits(rows)
        expected = torch_answers(model, read_context(file), rows)
        assert tiny.relative_error(found, expected) < (0.02 if precision == "fp16" else 0.5)


def test_eight_bits_keep_a_context_close_and_small(tmp_path: Path) -> None:
    task, model = make_task(tmp_path), make_model(tmp_path / "model", "qwen2")
    exact, small = tmp_path / "exact.safetensors", tmp_path / "small.safetensors"
    keep(task, exact, model=model, shots=8, max_length=64, precision="fp16")
    keep(task, small, model=model, shots=8, max_length=64, precision="int8")
    one, other = read_context(exact), read_context(small)
    scale = np.abs(one.past).max()
    assert 0 < np.abs(one.past - other.past).max() < 0.02 * scale
    assert small.stat().st_size < 0.75 * exact.stat().st_size


def test_a_context_of_another_model_or_a_changed_one_is_refused(tmp_path: Path) -> None:
    task, model = make_task(tmp_path), make_model(tmp_path / "model", "llama")
    other = make_model(tmp_path / "other", "llama", seed=1)
    bundle, path = tmp_path / "bundle", tmp_path / "other.safetensors"
    export_language_model(model, task, bundle, max_length=64)
    keep(task, path, model=other, shots=4, max_length=64)
    with pytest.raises(InputError, match="was made for other"):
        Predictor.load(bundle, context=path)

    keep(task, path, model=model, shots=4, max_length=64)
    Predictor.load(bundle, context=path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckFailed, match="changed or damaged"):
        Predictor.load(bundle, context=path)


def test_a_context_that_claims_another_shape_is_refused(tmp_path: Path) -> None:
    task, model = make_task(tmp_path), make_model(tmp_path / "model", "llama")
    bundle, path = tmp_path / "bundle", tmp_path / "shots.safetensors"
    export_language_model(model, task, bundle, max_length=64)
    keep(task, path, model=model, shots=4, max_length=64)
    context = read_context(path)
    write_context(path, replace(context, past=context.past[:1]))
    with pytest.raises(InputError, match="the graph takes"):
        Predictor.load(bundle, context=path)


def test_a_classifier_takes_no_context(tmp_path: Path) -> None:
    from edgecd.export.convert import export_run

    export_run(tiny.tiny_run(tmp_path / "run"), tmp_path / "bundle")
    with pytest.raises(InputError, match="takes no context"):
        Predictor.load(tmp_path / "bundle", context=tmp_path / "any.safetensors")


def test_a_bundle_with_its_context_changed_does_not_load(tmp_path: Path) -> None:
    task, model = make_task(tmp_path), make_model(tmp_path / "model", "llama")
    bundle = tmp_path / "bundle"
    export_language_model(model, task, bundle, max_length=64)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["language_model"] and "context.safetensors" in manifest["files"]
    (bundle / "context.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CheckFailed, match=r"context\.safetensors"):
        Predictor.load(bundle)
