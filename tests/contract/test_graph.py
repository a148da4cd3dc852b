"""Exported graphs answer exactly as the PyTorch model does, whatever the batch and the padding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from edgecd.errors import InputError
from edgecd.export import graph as graph_module
from edgecd.export.families import FUSED_FAMILIES
from edgecd.export.graph import fused_graph
from edgecd.export.half import half_graph
from edgecd.export.torch_graph import traced_graph
from tests.tiny import (
    FUSED,
    GEMMA_WINDOW,
    REAL_MODELS,
    TRACED,
    graph_logits,
    open_graph,
    padded_batch,
    tiny_classifier,
    torch_logits,
)

VOCABULARY = 100
POSITIONS = 160
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama-all-heads": ("llama", {"num_key_value_heads": 4}),
    "llama-wide-heads": ("llama", {"head_dim": 32}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama3-rope": ("llama", {"rope_parameters": LLAMA3_ROPE, "rope_scaling": LLAMA3_ROPE}),
    "yarn-rope": ("llama", {"rope_parameters": YARN_ROPE, "rope_scaling": YARN_ROPE}),
    "qwen2-untied": ("qwen2", {"tie_word_embeddings": False}),
    "qwen3-wide-heads": ("qwen3", {"head_dim": 32}),
    "gemma3-linear-rope": ("gemma3_text", {"rope_parameters": GEMMA_ROPE}),
    "gemma3-query-scale": ("gemma3_text", {"query_pre_attn_scalar": 40}),
    "gpt2-layer-scale": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "gpt2-no-scale": ("gpt2", {"scale_attn_weights": False}),
    "opt-350m-like": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
    "opt-projections": ("opt", {"word_embed_proj_dim": 32}),
    "opt-no-biases": ("opt", {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    "opt-gelu": ("opt", {"activation_function": "gelu"}),
}


def some_tokens(count: int) -> list[int]:
    """A prefix of so many tokens."""
    return [3, 7, 5, 7, 11][:count]


def assert_same_answers(
    graph: Any,
    model: Any,
    prefix: Sequence[int] = (),
    rows: Sequence[int] = (1, 3, 8),
    lengths: Sequence[int] = (1, 2, 7, 40),
) -> None:
    session = open_graph(graph)
    assert [(x.name, x.type) for x in session.get_inputs()] == [
        ("input_ids", "tensor(int64)"),
        ("attention_mask", "tensor(int64)"),
    ]
    assert [(x.name, x.type) for x in session.get_outputs()] == [("logits", "tensor(float)")]
    expected = np.zeros((0, 2), np.float32)
    for count in rows:
        for length in lengths:
            batch = padded_batch(count, length, VOCABULARY, prefix)
            expected = torch_logits(model, batch)
            found = session.run(None, batch)[0]
            np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert np.ptp(expected) > 0.1, "logits that hardly differ prove nothing"


@pytest.mark.parametrize("prefix_tokens", [0, 1, 2, 5])
@pytest.mark.parametrize("family", FUSED)
def test_fused_graph_answers_as_pytorch(family: Any, prefix_tokens: int) -> None:
    model = tiny_classifier(family, VOCABULARY, max_position_embeddings=POSITIONS)
    prefix = some_tokens(prefix_tokens)
    lengths = (1, 2, 7, 128, POSITIONS - len(prefix))
    assert_same_answers(fused_graph(model, prefix), model, prefix, lengths=lengths)


@pytest.mark.parametrize("prefix_tokens", [0, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_a_family_answer_as_pytorch(variant: str, prefix_tokens: int) -> None:
    family, changes = VARIANTS[variant]
    if variant == "opt-no-biases" and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 cannot initialise layer norms without weights")
    model = tiny_classifier(family, VOCABULARY, **changes)
    prefix = some_tokens(prefix_tokens)
    assert_same_answers(fused_graph(model, prefix), model, prefix, rows=(3,))


def test_local_layers_of_gemma_see_their_window_only() -> None:
    model = tiny_classifier("gemma3_text", VOCABULARY)
    wide = tiny_classifier("gemma3_text", VOCABULARY, sliding_window=64)
    wide.load_state_dict(model.state_dict())
    batch = padded_batch(4, 40, VOCABULARY)
    apart = np.abs(graph_logits(fused_graph(model), batch) - torch_logits(wide, batch))
    assert apart.max() > 1e-2, "the window makes no difference to this model"


def test_a_prefix_may_be_longer_than_the_window() -> None:
    model = tiny_classifier("gemma3_text", VOCABULARY)
    prefix = list(range(3, 3 + GEMMA_WINDOW + 4))
    assert_same_answers(fused_graph(model, prefix), model, prefix)


def test_a_prefix_is_a_constant_whatever_the_first_tokens_are() -> None:
    model = tiny_classifier("llama", VOCABULARY)
    batch = padded_batch(3, 7, VOCABULARY, prefix=[3, 7])
    other = padded_batch(3, 7, VOCABULARY, prefix=[9, 9])
    expected = graph_logits(fused_graph(model, [3, 7]), batch)
    np.testing.assert_array_equal(graph_logits(fused_graph(model, [3, 7]), other), expected)
    apart = np.abs(torch_logits(model, other) - expected)
    assert apart.max() > 1e-2, "the prefix makes no difference to this model"


@pytest.mark.parametrize(("name", "layers"), [("smollm2-135m", 30), ("qwen2.5-0.5b", 6)])
def test_fused_graph_answers_as_pytorch_with_real_weights(name: str, layers: int) -> None:
    """Real models have what random ones lack: activations a thousand times the usual."""
    folder = REAL_MODELS / name
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"needs the model {name} in ~/.cache/edgecd-models")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=3, num_hidden_layers=layers, dtype=torch.float32, pad_token_id=0
    ).eval()
    table = model.get_input_embeddings()  # ids below VOCABULARY are all that is asked for
    table.weight = torch.nn.Parameter(table.weight[:VOCABULARY].detach().clone())
    with torch.no_grad():
        torch.nn.init.orthogonal_(model.score.weight)
    for prefix in ([], [1, 42]):
        session = open_graph(fused_graph(model, prefix))
        for rows, length in ((1, 1), (3, 9), (2, 30)):
            batch = padded_batch(rows, length, VOCABULARY, prefix)
            expected = torch_logits(model, batch)
            found = session.run(None, batch)[0]
            largest = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found, expected, atol=1e-4 * largest, rtol=0)


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
    assert order.count("Attention") == 2
    assert order.index("GatherND") == len(order) - 1 - order[::-1].index("Attention") + 1


def test_families_without_a_fused_graph_are_told_what_to_do() -> None:
    assert frozenset(FUSED) == FUSED_FAMILIES
    with pytest.raises(InputError, match=rf"{TRACED}.*--exporter torch"):
        fused_graph(tiny_classifier(TRACED, VOCABULARY))


def test_configurations_it_cannot_write_are_refused() -> None:
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
    with pytest.raises(InputError, match="sliding window"):
        fused_graph(tiny_classifier("qwen2", VOCABULARY, **sliding))
    with pytest.raises(InputError, match="soft caps"):
        fused_graph(tiny_classifier("gemma3_text", VOCABULARY, attn_logit_softcapping=30.0))
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
    with pytest.raises(InputError, match="Sequential.*merge the adapter"):
        fused_graph(model)


@pytest.mark.parametrize("write", [fused_graph, traced_graph])
def test_weights_above_one_file_are_refused(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "PROTOBUF_LIMIT_BYTES", 1000)
    with pytest.raises(InputError, match="smaller student"):
        write(tiny_classifier("llama", VOCABULARY))


@pytest.mark.parametrize("prefix_tokens", [0, 2])
@pytest.mark.parametrize("family", FUSED)
def test_half_precision_answers_nearly_as_pytorch(family: Any, prefix_tokens: int) -> None:
    model = tiny_classifier(family, VOCABULARY)
    assert_half_is_close(model, some_tokens(prefix_tokens))


def test_half_precision_keeps_a_scaled_rotary_embedding() -> None:
    rope = {"rope_parameters": YARN_ROPE, "rope_scaling": YARN_ROPE}
    assert_half_is_close(tiny_classifier("llama", VOCABULARY, **rope), [])


def assert_half_is_close(model: Any, prefix: Sequence[int]) -> None:
    whole = fused_graph(model, prefix)
    before = whole.SerializeToString(deterministic=True)
    half = half_graph(whole)
    assert whole.SerializeToString(deterministic=True) == before, "the graph given was changed"
    assert half.ByteSize() < 0.6 * whole.ByteSize()
    batch = padded_batch(8, 40, VOCABULARY, prefix)
    expected = torch_logits(model, batch)
    found = graph_logits(half, batch)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
