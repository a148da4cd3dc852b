"""int8 and int4 graphs: weights rounded, stored once, close to fp32 where the treatment says so."""

from __future__ import annotations

import platform
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from edgecd.export.activations import LinearInput, linears, measure_activations
from edgecd.export.graph import fused_graph
from edgecd.export.quantize import (
    INT4_TREATMENTS,
    Treatment,
    int8_treatments,
    quantize,
    rounder,
)
from edgecd.export.rounding import round_weight
from edgecd.export.torch_graph import traced_graph
from tests.tiny import (
    FUSED,
    TRACED,
    graph_logits,
    open_graph,
    padded_batch,
    relative_error,
    tiny_classifier,
    torch_logits,
    with_outlier_token,
)

VOCABULARY = 100
DYNAMIC = Treatment("dynamic", "")
WEIGHTS = Treatment("weights", "", weights_only=True)
(INT4,) = INT4_TREATMENTS
DOWN = "layers.0.down_proj.weight"
BATCH = padded_batch(8, 24, VOCABULARY)


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.ModelProto]:
    return {family: fused_graph(tiny_classifier(family, VOCABULARY)) for family in FUSED}


def names(graph: onnx.ModelProto) -> list[str]:
    return [layer.name for layer in linears(ir.from_proto(graph).graph)]


def precise(graph: onnx.ModelProto) -> Treatment:
    return Treatment("precise", "", frozenset(names(graph)))


def tensors(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {x.name: onnx.numpy_helper.to_array(x) for x in graph.graph.initializer}


def error(graph: onnx.ModelProto, treatment: Treatment, **options: Any) -> float:
    small = quantize(graph, treatment, **options)
    return relative_error(graph_logits(small, BATCH), graph_logits(graph, BATCH))


@pytest.mark.parametrize(
    ("choose", "bits"),
    [(lambda graph: DYNAMIC, 8), (precise, 8), (lambda graph: WEIGHTS, 8), (lambda graph: INT4, 4)],
    ids=["dynamic", "precise", "weights", "int4"],
)
@pytest.mark.parametrize("family", FUSED)
def test_everything_but_the_head_is_rounded_and_stored_once(
    graphs: dict[str, onnx.ModelProto], family: str, choose: Any, bits: int
) -> None:
    graph = graphs[family]
    before = tensors(graph)
    matrices = {name for name, x in before.items() if x.ndim == 2 and "frequencies" not in name}
    weights = sum(before[name].size for name in matrices - {"score.weight"})
    after = tensors(quantize(graph, choose(graph)))
    wide = {name for name, x in after.items() if x.dtype == np.float32 and x.ndim > 1}
    scales = {name for name in wide if name.endswith(".scale")}
    assert {name for name in wide - scales if "frequencies" not in name} == {"score.weight"}
    rounded = {name: x for name, x in after.items() if x.dtype.itemsize == 1}
    # Positions are sliced, which 4-bit rows cannot be: they keep 8.
    whole_bytes = before["embed_positions.weight"].size if "embed_positions.weight" in before else 0
    stored = sum(x.size for x in rounded.values())
    assert stored == (weights if bits == 8 else (weights - whole_bytes) / 2 + whole_bytes)
    assert sum(after[name].size for name in scales) <= weights / 16


def test_input_graph_is_left_as_it_was(graphs: dict[str, onnx.ModelProto]) -> None:
    graph = graphs["opt"]
    before = graph.SerializeToString(deterministic=True)
    for treatment in (DYNAMIC, precise(graph), WEIGHTS, INT4):
        quantize(graph, treatment)
    measure_activations(graph, [BATCH], threads=1)
    assert graph.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("family", FUSED)
def test_answers_stay_close_to_fp32(graphs: dict[str, onnx.ModelProto], family: str) -> None:
    graph = graphs[family]
    assert 0 < error(graph, DYNAMIC) < 0.2
    assert 0 < error(graph, precise(graph)) < 0.06
    assert 0 < error(graph, precise(graph), weight_bits=7) < 0.12
    assert 0 < error(graph, WEIGHTS) < 0.06


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="x86 alone")
def test_every_treatment_loads_where_8_bit_products_saturate(
    graphs: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecd.runtime.session.int8_saturates", lambda isa: True)
    for treatment in (DYNAMIC, precise(graphs["llama"]), WEIGHTS):
        assert 0 < error(graphs["llama"], treatment) < 0.2


@pytest.mark.parametrize("family", FUSED)
def test_int4_answers_as_fp32_with_the_rounded_weights_does(
    graphs: dict[str, onnx.ModelProto], family: str
) -> None:
    """What 4-bit weights cost a model of random ones is much; what runs must be just that."""
    graph = graphs[family]
    expected = graph_logits(with_four_bit_weights(graph), BATCH)
    lost = relative_error(graph_logits(graph, BATCH), expected)
    apart = relative_error(graph_logits(quantize(graph, INT4), BATCH), expected)
    assert apart < min(0.12, lost / 2)


def with_four_bit_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The fp32 graph with its linear weights and token embeddings as 4 bits hold them."""
    small, linear = onnx.ModelProto.FromString(graph.SerializeToString()), names(graph)
    for tensor in small.graph.initializer:
        weight = onnx.numpy_helper.to_array(tensor)
        if tensor.name in linear:
            rounded = round_weight(weight, 7, group=64)
            weight = rounded.values * np.repeat(rounded.scales, 64, axis=0)
        elif tensor.name == "embed_tokens.weight":
            rounded = round_weight(weight.T, 7, group=64)
            weight = (rounded.values * np.repeat(rounded.scales, 64, axis=0)).T
        else:
            continue
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weight), tensor.name))
    return small


def test_int4_takes_widths_that_no_block_divides() -> None:
    model = tiny_classifier("llama", VOCABULARY, hidden_size=40, head_dim=10, intermediate_size=72)
    graph = fused_graph(model)
    for treatment, limit in ((WEIGHTS, 0.06), (INT4, 1.0)):
        assert 0 < error(graph, treatment) < limit


def test_an_int4_answer_does_not_depend_on_its_neighbours(
    graphs: dict[str, onnx.ModelProto],
) -> None:
    session = open_graph(quantize(graphs["llama"], INT4))
    together = session.run(None, BATCH)[0]
    for row, length in enumerate(BATCH["attention_mask"].sum(axis=1)):
        alone = {name: values[row : row + 1, :length] for name, values in BATCH.items()}
        np.testing.assert_allclose(session.run(None, alone)[0][0], together[row], atol=1e-3)


@pytest.mark.parametrize("family", ["gpt2", TRACED])
def test_traced_graphs_quantize_too(family: Any) -> None:
    graph = traced_graph(tiny_classifier(family, VOCABULARY))
    assert len(names(graph)) == (8 if family == "gpt2" else 14)
    for treatment, limit in ((DYNAMIC, 0.2), (WEIGHTS, 0.06), (INT4, 1.0)):
        assert 0 < error(graph, treatment) < limit
    table = next(name for name in tensors(graph) if "wte" in name or "embed_tokens" in name)
    kept = tensors(quantize(graph, DYNAMIC))
    assert f"{table}.int8" in kept
    assert table not in kept


def test_seven_bit_weights_fit_seven_bits(graphs: dict[str, onnx.ModelProto]) -> None:
    graph = graphs["llama"]
    for bits, limit in ((8, 127), (7, 63)):
        for treatment in (DYNAMIC, precise(graph)):
            found = tensors(quantize(graph, treatment, weight_bits=bits))
            for name in names(graph):
                assert np.abs(found[f"{name}.int8"]).max() == limit, name


# --- activation statistics --------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [[], [3, 7]])
def test_statistics_are_of_the_real_tokens_after_the_prefix(prefix: list[int]) -> None:
    model = tiny_classifier("llama", VOCABULARY)
    seen: list[torch.Tensor] = []
    layers = model.model.layers
    for layer in (layers[0].mlp.down_proj, layers[1].mlp.down_proj):
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].detach()))
    feeds = [padded_batch(rows, 24, VOCABULARY, prefix) for rows in (3, 5)]
    early, late = [], []
    for feed in feeds:
        seen.clear()
        torch_logits(model, feed)
        mask = feed["attention_mask"].copy()
        mask[:, : len(prefix)] = 0
        early.append(seen[0].numpy()[mask == 1])
        lengths = feed["attention_mask"].sum(axis=1)
        late.append(seen[1].numpy()[np.arange(len(lengths)), lengths - 1])
    graph = fused_graph(model, prefix)
    found = measure_activations(graph, feeds, threads=1)
    assert list(found) == names(graph) and len(found) == 8
    for name, parts in ((DOWN, early), (DOWN.replace("0", "1"), late)):
        states = np.concatenate(parts)
        assert found[name].max_abs == pytest.approx(np.abs(states).max(), rel=1e-4)
        usual = np.median(np.sqrt((states**2).mean(axis=1)))
        assert found[name].row_rms == pytest.approx(usual, rel=1e-4)
        assert found[name].noise == pytest.approx(np.abs(states).max() / usual, rel=1e-3)
        np.testing.assert_allclose(found[name].gram, states.T @ states, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found[name].rms, np.sqrt((states**2).mean(axis=0)), rtol=1e-3)
    plain = measure_activations(graph, feeds, grams=False, threads=1)
    assert plain[DOWN].gram is None
    np.testing.assert_allclose(plain[DOWN].rms, found[DOWN].rms, rtol=1e-4)


def test_statistics_lower_the_error_of_four_bits(graphs: dict[str, onnx.ModelProto]) -> None:
    graph = graphs["llama"]
    feeds = [padded_batch(32, 24, VOCABULARY, seed=seed) for seed in (1, 2)]
    told = rounder(measure_activations(graph, feeds, threads=1))
    assert error(graph, INT4, round_linear=told) < 0.9 * error(graph, INT4)


def test_each_layer_is_rounded_once_for_all_treatments(
    graphs: dict[str, onnx.ModelProto],
) -> None:
    graph = graphs["llama"]
    round_linear = rounder()
    first = quantize(graph, DYNAMIC, round_linear)
    weight = tensors(graph)[DOWN]
    assert round_linear(DOWN, weight, None, 127) is round_linear(DOWN, weight, None, 127)
    assert round_linear(DOWN, weight, None, 63) is not round_linear(DOWN, weight, None, 127)
    assert tensors(quantize(graph, precise(graph), round_linear)).keys() >= {f"{DOWN}.int8"}
    assert np.array_equal(
        tensors(first)[f"{DOWN}.int8"], round_linear(DOWN, weight, None, 127).values
    )


# --- the ladder -----------------------------------------------------------------------------


def test_outlier_layer_is_found_and_cured() -> None:
    graph = fused_graph(with_outlier_token(VOCABULARY))
    batch = {**BATCH, "input_ids": BATCH["input_ids"].copy()}
    batch["input_ids"][:, 0] = 5
    ladder = int8_treatments(measure_activations(graph, [batch], threads=1))
    assert ladder[1].two_passes == {DOWN}
    expected = graph_logits(graph, batch)
    errors = [
        np.abs(graph_logits(quantize(graph, treatment), batch) - expected).max()
        for treatment in (ladder[0], ladder[1])
    ]
    assert errors[1] < errors[0] / 2, errors


@pytest.mark.parametrize("layers", [1, 3, 8, 12, 96])
def test_ladder_goes_from_no_layer_to_every_layer(layers: int) -> None:
    one = np.ones(1, np.float32)
    inputs = {f"w{n}": LinearInput(one, None, float(n + 1), 1.0) for n in range(layers)}
    ladder = int8_treatments(inputs)
    assert ladder[0].two_passes == frozenset()
    for treatment in ladder[:-1]:  # the widest inputs first
        count = len(treatment.two_passes)
        assert treatment.two_passes == {f"w{n}" for n in range(layers - count, layers)}
    assert ladder[-2].two_passes == set(inputs)
    assert all(a.two_passes < b.two_passes for a, b in pairwise(ladder[:-1]))
    assert ladder[-1].weights_only
    assert len({treatment.name for treatment in ladder}) == len(ladder)
