"""Rewritten weights: the same logits in fp32, and far better ones in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgecd.export.activations import LinearInput, measure_activations
from edgecd.export.families import read_stack
from edgecd.export.graph import write_graph
from edgecd.export.precondition import smooth, spread
from edgecd.export.quantize import Treatment, quantize
from edgecd.export.stack import Stack
from tests.tiny import (
    FUSED,
    graph_logits,
    padded_batch,
    relative_error,
    tiny_classifier,
    with_outlier_token,
)

VOCABULARY = 100
FEEDS = [padded_batch(8, 24, VOCABULARY, seed=seed) for seed in (1, 2)]
BATCH = padded_batch(8, 24, VOCABULARY, seed=3)
PREFIX = [3, 7]
DYNAMIC = Treatment("dynamic", "")
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{family: (family, {}) for family in FUSED},
    "opt-350m-like": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
    "opt-gelu": ("opt", {"activation_function": "gelu"}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-small-blocks": ("llama", {"intermediate_size": 72}),
    "llama-no-blocks": ("llama", {"intermediate_size": 75}),
}


def starting_with(prefix: list[int], batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    start = np.tile(np.array(prefix, np.int64), (len(batch["input_ids"]), 1))
    return {
        "input_ids": np.hstack([start, batch["input_ids"]]),
        "attention_mask": np.hstack([np.ones_like(start), batch["attention_mask"]]),
    }


def measured(stack: Stack, feeds: list[dict[str, np.ndarray]]) -> dict[str, LinearInput]:
    return measure_activations(write_graph(stack), feeds, grams=False, threads=1)


@pytest.mark.parametrize("prefix", [[], PREFIX], ids=["plain", "prefix"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_fp32_logits_stay_as_they_were(variant: str, prefix: list[int]) -> None:
    family, changes = VARIANTS[variant]
    stack = read_stack(tiny_classifier(family, VOCABULARY, **changes), prefix)
    inputs = measured(stack, [starting_with(prefix, feed) for feed in FEEDS])
    batch = starting_with(prefix, BATCH)
    expected = graph_logits(write_graph(stack), batch)
    smoothed = smooth(stack, inputs)
    for rewritten in (smoothed, spread(stack), spread(smoothed)):
        found = graph_logits(write_graph(rewritten), batch)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    before, after = (each.blocks[0].attention.out.weight for each in (stack, smoothed))
    assert not np.allclose(before, after), "nothing was rewritten"


@pytest.mark.parametrize("family", FUSED)
def test_smoothing_evens_out_the_channels(family: Any) -> None:
    model = tiny_classifier(family, VOCABULARY)
    plant_channels(model)
    stack = read_stack(model)
    before = measured(stack, FEEDS)
    after = measured(smooth(stack, before), FEEDS)
    for name in ("layers.0.qkv_proj.weight", "layers.1.qkv_proj.weight"):
        wide, even = (x[name].rms.max() / np.median(x[name].rms) for x in (before, after))
        assert wide > 30 and even < wide / 5, (name, wide, even)


def test_a_channel_that_was_never_seen_is_not_blown_up() -> None:
    model = tiny_classifier("opt", VOCABULARY)
    with torch.no_grad():  # ReLU units that never fire on the texts
        model.model.decoder.layers[0].fc1.bias[:5] = -1000.0
    stack = read_stack(model)
    smoothed = smooth(stack, measured(stack, FEEDS))
    down = [each.blocks[0].mlp.down.weight for each in (stack, smoothed)]
    assert np.abs(down[1][:5]).max() < 1e3 * np.abs(down[0]).max()
    quantized = quantize(write_graph(smoothed), DYNAMIC)
    assert np.isfinite(graph_logits(quantized, BATCH)).all()


def test_rotations_are_orthogonal_and_as_large_as_the_width_allows() -> None:
    for width, size in ((128, 64), (96, 32), (72, 8), (75, 1)):
        stack = read_stack(tiny_classifier("llama", VOCABULARY, intermediate_size=width))
        for block in spread(stack).blocks:
            turn = block.mlp.rotation
            assert turn is not None and turn.shape == (size, size)
            np.testing.assert_allclose(turn @ turn.T, np.eye(size), atol=1e-6)


def plant_channels(model: Any, size: float = 100.0) -> None:
    """Make two channels of each attention input `size` times larger; the answers stay."""
    body = model.base_model
    layers = getattr(body, "h", None) or getattr(body, "decoder", body).layers
    with torch.no_grad():
        for layer in layers:
            if hasattr(layer, "ln_1"):
                norm, taking = layer.ln_1, [layer.attn.c_attn.weight]
            else:
                norm = getattr(layer, "input_layernorm", None) or layer.self_attn_layer_norm
                attention = layer.self_attn
                parts = (attention.q_proj, attention.k_proj, attention.v_proj)
                taking = [part.weight.T for part in parts]
            plus = 1.0 if "Gemma" in type(norm).__name__ else 0.0
            norm.weight[7:9] = (norm.weight[7:9] + plus) * size - plus
            if getattr(norm, "bias", None) is not None:
                norm.bias[7:9] *= size
            for weight in taking:
                weight[7:9] /= size


def int8_errors(model: Any, rewrite: Callable[[Stack], Stack]) -> tuple[float, float]:
    """Errors of one-scale int8 inputs, (as the model is, rewritten)."""
    stack = read_stack(model)
    batch = with_token_5(BATCH)
    expected = graph_logits(write_graph(stack), batch)
    small = (quantize(write_graph(one), DYNAMIC) for one in (stack, rewrite(stack)))
    before, after = (relative_error(graph_logits(graph, batch), expected) for graph in small)
    return before, after


def test_eight_bits_hold_a_model_with_outlier_channels_and_an_outlier_token() -> None:
    model = with_outlier_token(VOCABULARY)
    plant_channels(model)
    feeds = [with_token_5(feed) for feed in FEEDS]
    before, after = int8_errors(model, lambda stack: spread(smooth(stack, measured(stack, feeds))))
    assert before > 0.5, "the outliers do no harm"
    assert after < before / 8, (before, after)


def test_a_large_unit_is_spread_over_its_block() -> None:
    before, after = int8_errors(with_outlier_token(VOCABULARY), spread)
    assert after < 0.75 * before, (before, after)


def with_token_5(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ids = batch["input_ids"].copy()
    ids[:, 0] = 5
    return {**batch, "input_ids": ids}
