"""int8 graphs: int8 everywhere, stored once, close to fp32 where the treatment says so."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgecd.export.graph import fused_graph
from edgecd.export.quantize import (
    ActivationRange,
    Treatment,
    activation_ranges,
    linear_names,
    quantize,
    treatments,
)
from edgecd.export.torch_graph import traced_graph
from tests.tiny import PAD_TOKEN_ID, tiny_classifier

VOCABULARY = 100
DYNAMIC = Treatment("dynamic", "")
WEIGHTS = Treatment("weights", "", weights_only=True)
DOWN = "layers.0.down_proj.weight"


def precise(graph: onnx.ModelProto) -> Treatment:
    return Treatment("precise", "", frozenset(linear_names(graph)))


def batch(rows: int = 8, length: int = 24, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    ids = np.where(mask == 1, rng.integers(2, VOCABULARY, (rows, length)), PAD_TOKEN_ID)
    return {"input_ids": ids, "attention_mask": mask}


def session(graph: onnx.ModelProto, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def logits(graph: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return session(graph).run(None, inputs)[0]


def error(graph: onnx.ModelProto, treatment: Treatment, **options: Any) -> float:
    """Root mean square error of the logits, over their standard deviation."""
    expected = logits(graph, batch())
    found = logits(quantize(graph, treatment, **options), batch())
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def with_outlier_token(size: float = 300.0) -> Any:
    """A model where token 5 makes one unit of the first layer's `down_proj` input huge."""
    model = tiny_classifier("llama", VOCABULARY)
    with torch.no_grad():
        mlp = model.model.layers[0].mlp
        model.model.embed_tokens.weight[5] *= 0.01
        model.model.embed_tokens.weight[5, 0] = 10
        mlp.gate_proj.weight[0], mlp.up_proj.weight[0] = 0.0, 0.0
        mlp.gate_proj.weight[0, 0] = mlp.up_proj.weight[0, 0] = size**0.5
        mlp.down_proj.weight[:, 0] *= 1 / size
    return model


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
@pytest.mark.parametrize(
    "choose",
    [lambda graph: DYNAMIC, precise, lambda graph: WEIGHTS],
    ids=["dynamic", "precise", "weights"],
)
def test_everything_but_the_head_is_int8_and_stored_once(family: Any, choose: Any) -> None:
    model = tiny_classifier(family, VOCABULARY)
    graph = fused_graph(model)
    small = quantize(graph, choose(graph))
    tensors = {x.name: onnx.numpy_helper.to_array(x) for x in small.graph.initializer}
    wide = [name for name, x in tensors.items() if x.dtype == np.float32 and x.ndim > 1]
    scales = {name for name in wide if name.endswith(".scale")}
    assert set(wide) - scales <= {"score.weight", "rotary.frequencies"}
    weights = sum(x.numel() for x in model.parameters() if x.ndim > 1) - model.score.weight.numel()
    assert sum(x.size for x in tensors.values() if x.dtype.itemsize == 1) == weights
    assert sum(tensors[name].size for name in scales) <= weights / 16


def test_runtime_does_not_fold_weights_back_to_fp32(tmp_path: Path) -> None:
    graph = fused_graph(tiny_classifier("llama", VOCABULARY))
    session(quantize(graph, DYNAMIC), tmp_path / "optimised.onnx")
    optimised = onnx.load(tmp_path / "optimised.onnx")
    operators = [node.op_type for node in optimised.graph.node]
    assert operators.count("DynamicQuantizeMatMul") == len(linear_names(graph)) == 8
    assert operators.count("MatMul") + operators.count("Gemm") == 1, "only the head is fp32"
    stored = [onnx.numpy_helper.to_array(x) for x in optimised.graph.initializer]
    assert max(x.size for x in stored if x.dtype == np.float32) <= 2 * 64 * 4


def test_input_graph_is_left_as_it_was() -> None:
    graph = fused_graph(tiny_classifier("opt", VOCABULARY))
    before = graph.SerializeToString(deterministic=True)
    quantize(graph, DYNAMIC)
    activation_ranges(graph, [batch()], threads=1)
    assert graph.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_answers_stay_close_to_fp32(family: Any) -> None:
    graph = fused_graph(tiny_classifier(family, VOCABULARY))
    assert error(graph, DYNAMIC) < 0.2
    assert error(graph, precise(graph)) < 0.06
    assert error(graph, precise(graph), saturating=True) < 0.12
    assert error(graph, WEIGHTS) < 0.06


def test_traced_graphs_quantize_too() -> None:
    graph = traced_graph(tiny_classifier("gpt2", VOCABULARY))
    assert len(linear_names(graph)) == 8
    assert error(graph, DYNAMIC) < 0.2
    kept = {x.name for x in quantize(graph, DYNAMIC).graph.initializer}
    assert "body.wte.weight.int8" in kept
    assert "body.wte.weight" not in kept


def test_saturating_weights_fit_seven_bits() -> None:
    graph = fused_graph(tiny_classifier("llama", VOCABULARY))
    for saturating, limit in ((False, 127), (True, 63)):
        tensors = quantize(graph, DYNAMIC, saturating=saturating).graph.initializer
        weight = next(x for x in tensors if x.name == f"{DOWN}.int8")
        assert np.abs(onnx.numpy_helper.to_array(weight)).max() == limit


def test_ranges_are_those_of_the_real_tokens() -> None:
    model = tiny_classifier("llama", VOCABULARY)
    seen: list[torch.Tensor] = []
    model.model.layers[0].mlp.down_proj.register_forward_hook(
        lambda layer, inputs, output: seen.append(inputs[0].detach())
    )
    inputs = batch()
    with torch.no_grad():
        model(**{name: torch.from_numpy(x) for name, x in inputs.items()})
    real = seen[0].numpy()[inputs["attention_mask"] == 1]
    found = activation_ranges(fused_graph(model), [inputs], threads=1)
    assert list(found) == linear_names(fused_graph(model))
    assert found[DOWN].max_abs == pytest.approx(np.abs(real).max(), rel=1e-4)
    assert found[DOWN].median_row_max_abs == pytest.approx(
        np.median(np.abs(real).max(axis=1)), rel=1e-4
    )
    assert found[DOWN].median_row_rms == pytest.approx(
        np.median(np.sqrt((real**2).mean(axis=1))), rel=1e-4
    )


def test_outlier_layer_is_found_and_cured() -> None:
    graph = fused_graph(with_outlier_token())
    inputs = batch()
    inputs["input_ids"][:, 0] = 5
    ladder = treatments(activation_ranges(graph, [inputs], threads=1))
    assert ladder[1].two_passes == {DOWN}
    expected = logits(graph, inputs)
    errors = [
        np.abs(logits(quantize(graph, treatment), inputs) - expected).max()
        for treatment in (ladder[0], ladder[1])
    ]
    assert errors[1] < errors[0] / 2, errors


def test_ladder_goes_from_no_layer_to_every_layer() -> None:
    ranges = {f"w{n}": ActivationRange(float(2**n), 1.0, 1.0) for n in range(12)}
    ladder = treatments(ranges)
    assert ladder[0].two_passes == frozenset()
    assert ladder[1].two_passes == {f"w{n}" for n in range(7, 12)}
    assert ladder[-2].two_passes == set(ranges)
    assert all(a.two_passes < b.two_passes for a, b in pairwise(ladder[:-1]))
    assert ladder[-1].weights_only
    assert len({treatment.name for treatment in ladder}) == len(ladder)
