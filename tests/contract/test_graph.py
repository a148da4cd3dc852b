"""Exported graphs answer exactly as the PyTorch model does, whatever the batch and the padding."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from edgecd.errors import InputError
from edgecd.export import graph as graph_module
from edgecd.export.graph import FUSED_FAMILIES, fused_graph
from edgecd.export.torch_graph import traced_graph
from tests.tiny import PAD_TOKEN_ID, tiny_classifier

VOCABULARY = 100
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama-grouped": ("llama", {}),
    "llama-all-heads": ("llama", {"num_key_value_heads": 4}),
    "llama-wide-heads": ("llama", {"head_dim": 32}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama3-rope": ("llama", {"rope_parameters": LLAMA3_ROPE, "rope_scaling": LLAMA3_ROPE}),
    "qwen2-tied": ("qwen2", {}),
    "qwen2-untied": ("qwen2", {"tie_word_embeddings": False}),
    "opt-125m-like": ("opt", {}),
    "opt-350m-like": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
    "opt-projections": ("opt", {"word_embed_proj_dim": 32}),
    "opt-no-biases": ("opt", {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    "opt-gelu": ("opt", {"activation_function": "gelu"}),
}


def padded_batch(rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random ids, right padded to mixed lengths; the first row is full."""
    rng = np.random.default_rng([seed, rows, length])
    lengths = rng.integers(1, length + 1, rows)
    lengths[0] = length
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(2, VOCABULARY, (rows, length))
    return {"input_ids": np.where(mask == 1, ids, PAD_TOKEN_ID), "attention_mask": mask}


def torch_logits(model: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return model(**{name: torch.from_numpy(x) for name, x in batch.items()}).logits.numpy()


def assert_same_answers(graph: Any, model: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    assert [(x.name, x.type) for x in session.get_inputs()] == [
        ("input_ids", "tensor(int64)"),
        ("attention_mask", "tensor(int64)"),
    ]
    assert [(x.name, x.type) for x in session.get_outputs()] == [("logits", "tensor(float)")]
    for rows in (1, 3, 8):
        for length in (1, 2, 7, 40):
            batch = padded_batch(rows, length)
            expected = torch_logits(model, batch)
            np.testing.assert_allclose(session.run(None, batch)[0], expected, atol=1e-4, rtol=0)
    assert np.ptp(expected) > 0.1, "logits that hardly differ prove nothing"


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_graph_answers_as_pytorch(variant: str) -> None:
    family, changes = VARIANTS[variant]
    if variant == "opt-no-biases" and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 cannot initialise layer norms without weights")
    model = tiny_classifier(family, VOCABULARY, **changes)
    assert_same_answers(fused_graph(model), model)


def test_bfloat16_checkpoint_becomes_an_fp32_graph() -> None:
    model = tiny_classifier("llama", VOCABULARY).bfloat16()
    graph = fused_graph(model)
    assert_same_answers(graph, model.float())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_traced_graph_answers_as_pytorch(family: Any) -> None:
    model = tiny_classifier(family, VOCABULARY)
    graph = traced_graph(model)
    assert_same_answers(graph, model)
    names = {tensor.name for tensor in graph.graph.initializer}
    assert any(name.endswith(("mlp.c_proj.weight", "mlp.down_proj.weight")) for name in names)
    assert not model.training
    text = str([node.metadata_props for node in graph.graph.node])
    assert os.sep + "site-packages" not in text, "paths of this machine leaked into the graph"


def test_fused_graph_takes_the_last_token_before_the_last_mlp() -> None:
    graph = fused_graph(tiny_classifier("llama", VOCABULARY)).graph
    order = [node.op_type for node in graph.node]
    assert order.count("GroupQueryAttention") == 2
    assert order.index("GatherND") == len(order) - 1 - order[::-1].index("GroupQueryAttention") + 1


def test_families_without_a_fused_graph_are_told_what_to_do() -> None:
    assert frozenset({"opt", "llama", "qwen2"}) == FUSED_FAMILIES
    with pytest.raises(InputError, match=r"gpt2.*--exporter torch"):
        fused_graph(tiny_classifier("gpt2", VOCABULARY))


def test_configurations_it_cannot_write_are_refused() -> None:
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
    with pytest.raises(InputError, match="sliding window"):
        fused_graph(tiny_classifier("qwen2", VOCABULARY, **sliding))
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    with pytest.raises(InputError, match="rope type 'dynamic'"):
        fused_graph(
            tiny_classifier("llama", VOCABULARY, rope_parameters=dynamic, rope_scaling=dynamic)
        )
    with pytest.raises(InputError, match="activation 'tanh'"):
        fused_graph(tiny_classifier("opt", VOCABULARY, activation_function="tanh"))


def test_unmerged_adapters_are_refused() -> None:
    model = tiny_classifier("llama", VOCABULARY)
    layer = model.model.layers[0].mlp
    layer.down_proj = torch.nn.Sequential(layer.down_proj)
    with pytest.raises(InputError, match=r"layers\.0\.down_proj.*merge the adapter"):
        fused_graph(model)


@pytest.mark.parametrize("write", [fused_graph, traced_graph])
def test_weights_above_one_file_are_refused(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "PROTOBUF_LIMIT_BYTES", 1000)
    with pytest.raises(InputError, match="smaller student"):
        write(tiny_classifier("llama", VOCABULARY))
