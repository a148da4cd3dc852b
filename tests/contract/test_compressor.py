"""The compressor on the device: demonstrations to a context, without PyTorch, as PyTorch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

import torch

from edgecd import Predictor
from edgecd.console import Reporter
from edgecd.contexts.attention import attend
from edgecd.contexts.compress import compress
from edgecd.contexts.config import CompressConfig, MendConfig
from edgecd.contexts.networks import READING
from edgecd.contexts.train import load_distiller, train_distiller
from edgecd.errors import CheckFailed, InputError
from edgecd.export.compressor import WRITERS, export_compressor
from edgecd.export.config import ExportConfig
from edgecd.export.language_model import export_language_model
from edgecd.formats.compressor import COMPRESSOR_METHODS
from edgecd.formats.context import read_context, write_context
from edgecd.runtime.compress import compress_here
from edgecd.runtime.compressor import Compressor
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.task import load_task
from tests import mend_world, tiny

QUIET = Reporter(lambda line: None, lambda what, done, total: None)


def prepare(folder: Path, family: tiny.Family = "llama", **options: Any) -> Path:
    """A world with a task file and the run of a distiller in it."""
    world = mend_world.make_world(folder, family, bos=family == "opt")
    text = tiny.TASK.replace("train.jsonl", "same.jsonl").replace("validation.jsonl", "size.jsonl")
    (world / "task.toml").write_text(text, encoding="utf-8")
    config = MendConfig(**mend_world.mend_options(world, **options))
    train_distiller(config, world / "run", QUIET)
    return world


@pytest.mark.parametrize("family", tiny.FUSED)
@pytest.mark.parametrize("method", ["mend", "hypertuning", "gist"])
def test_the_device_makes_the_context_that_pytorch_makes(
    family: tiny.Family, method: str, tmp_path: Path
) -> None:
    world = prepare(tmp_path, family, method=method, adapter="lora", pretrain_steps=0)
    task, bundle = load_task(str(world / "task.toml")), world / "bundle"
    export_language_model(str(world / "model"), task, bundle, max_length=64)
    export_compressor(world / "run", world / "compressor")
    options: dict[str, Any] = {"shots": 4, "seed": 3, "max_length": 64}
    config = CompressConfig(task=task.source, distiller=world / "run", **options)
    write_context(world / "torch.safetensors", compress(config), "fp16")
    made = compress_here(task, world / "compressor", bundle, **options)
    write_context(world / "onnx.safetensors", made, "fp16")
    ours = read_context(world / "onnx.safetensors")
    theirs = read_context(world / "torch.safetensors")
    np.testing.assert_allclose(ours.past, theirs.past, atol=5e-3)  # both are kept in 16 bits
    np.testing.assert_allclose(ours.head, theirs.head, atol=1e-6)
    np.testing.assert_allclose(ours.facts.calibration, theirs.facts.calibration, atol=5e-3)
    assert ours.facts.context_tokens == theirs.facts.context_tokens
    rows = [row["fields"] for row in tiny.examples(20, seed=9)]
    one, other = (
        Predictor.load(bundle, context=world / f"{name}.safetensors").logits(rows)
        for name in ("onnx", "torch")
    )
    np.testing.assert_allclose(one, other, atol=1e-2)


def test_whatever_reads_demonstrations_knows_its_graphs() -> None:
    assert set(WRITERS) == set(READING) == set(COMPRESSOR_METHODS)
    assert all(READING[name].method == name for name in READING)


def test_a_projected_distiller_and_eight_bits(tmp_path: Path) -> None:
    tokenizer = tiny.tiny_tokenizer()
    small = tiny.tiny_causal_lm("llama", len(tokenizer), hidden_size=32, head_dim=16)
    tiny.save_model(small, tokenizer, tmp_path / "small")
    world = prepare(tmp_path, distiller=str(tmp_path / "small"), pretrain_steps=0)
    exact = export_compressor(world / "run", world / "fp32")
    small_one = export_compressor(world / "run", world / "int8", ExportConfig(precision="int8"))
    assert exact["probe_error"] < 1e-5 < small_one["probe_error"] < 0.1
    assert small_one["size_bytes"] < 0.6 * exact["size_bytes"]


def test_a_gists_attention_is_that_of_the_tokens_read_at_once(tmp_path: Path) -> None:
    """An adapter that has learned nothing does not show that the tokens are read without it."""
    nothing = {"adapter": "lora", "pretrain_steps": 0, "steps": 0}
    world = prepare(tmp_path, method="gist", **nothing)
    task = load_task(str(world / "task.toml"))
    seen = attend(world / "run", task, shots=3, seed=0)
    reader = load_distiller(world / "run", torch.device("cpu"), torch.float32).network.reader
    reader.body.set_attn_implementation("eager")
    ids = tiny.tiny_tokenizer()("".join(seen.tokens)).input_ids
    with torch.no_grad():
        found = reader.body(inputs_embeds=reader.embedded(ids), output_attentions=True)
    whole = torch.stack([layer[0].mean(0) for layer in found.attentions]).mean(0)
    expected = whole[len(ids) :, : len(ids)].numpy()
    assert seen.weights.shape == (3, len(ids))
    np.testing.assert_allclose(seen.weights, expected, atol=1e-5)


def test_bad_demonstrations_and_changed_files_are_refused(tmp_path: Path) -> None:
    world = prepare(tmp_path, pretrain_steps=0)
    export_compressor(world / "run", world / "compressor")
    compressor = Compressor.load(world / "compressor")
    template = load_task(str(world / "task.toml")).template
    fields = {"premise": "A cat sleeps.", "hypothesis": "It rests."}
    assert compressor.compress(template, Demonstrations.of([(fields, "entailment")])).positions == 4
    with pytest.raises(InputError, match="no demonstrations"):
        compressor.compress(template, Demonstrations())
    with pytest.raises(InputError, match="'maybe' of a demonstration"):
        compressor.compress(template, Demonstrations.of([(fields, "maybe")]))
    model = world / "compressor" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(CheckFailed, match="changed or damaged"):
        Compressor.load(world / "compressor")
    with pytest.raises(InputError, match="not a compressor"):
        Compressor.load(world)
