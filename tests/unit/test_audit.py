"""What the runtime really runs is counted, and a graph that it folds back to fp32 is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecd.errors import CheckFailed
from edgecd.export.audit import Audit, audit, count, refuse_folded
from edgecd.export.graph import fused_graph
from edgecd.export.quantize import INT4_TREATMENTS, Treatment, quantize
from tests.tiny import tiny_classifier

VOCABULARY = 100
WIDTH = 256  # one matrix of 256 KiB in fp32, above the slack that is allowed


def audited(graph: onnx.ModelProto, folder: Path) -> Audit:
    onnx.save(graph, folder / "model.onnx")
    found = audit(folder / "model.onnx")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    return found


def weight_only_graph(way: str) -> onnx.ModelProto:
    """One product by an int8 constant, which is made whole again by other operators before it.

    `cast`: Cast and Mul, which onnxruntime folds when it loads the graph. `rows`: a
    DequantizeLinear with a scale for each row, which it keeps, and runs each time. `tensor`: one
    with a single scale, which it fuses with the product.
    """
    values = np.random.default_rng(0).integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8)
    scale = np.full(WIDTH, 0.01, np.float32) if way == "rows" else np.float32(0.01)
    constants = [numpy_helper.from_array(x, name) for x, name in ((values, "w"), (scale, "scale"))]
    if way == "cast":
        nodes = [
            helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["wide", "scale"], ["whole"]),
        ]
    else:
        axis = {"axis": 0} if way == "rows" else {}
        nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["whole"], **axis)]
    nodes.append(helper.make_node("MatMul", ["input", "whole"], ["output"]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH])
        for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, way, ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_operators_and_constants_are_counted() -> None:
    found = count(weight_only_graph("cast"))
    assert found.operators == {"Cast": 1, "Mul": 1, "MatMul": 1}
    assert found.float_constant_bytes == 4
    assert found.integer_constant_bytes == WIDTH * WIDTH
    assert found.quantized_matmuls == 0
    both = Audit({"MatMulNBits": 2, "MatMul": 5, "DynamicQuantizeMatMul": 1}, 0, 0)
    assert both.quantized_matmuls == 3


def test_constants_count_however_they_are_stored() -> None:
    values = [1.0, 2.0, 3.0]
    graph = helper.make_graph(
        [], "g", [], [], [helper.make_tensor("typed", TensorProto.FLOAT, [3], values)]
    )
    assert count(helper.make_model(graph)).float_constant_bytes >= 12


def test_a_graph_that_is_folded_back_is_refused(tmp_path: Path) -> None:
    graph = weight_only_graph("cast")
    found = audited(graph, tmp_path)
    assert found.float_constant_bytes >= 4 * WIDTH * WIDTH and found.operators == {"MatMul": 1}, (
        "onnxruntime no longer folds this graph: the test proves nothing"
    )
    with pytest.raises(CheckFailed, match="0 of 1 linear layers .* folded back to fp32"):
        refuse_folded(graph, found, linear_layers=1)
    with pytest.raises(CheckFailed, match=r"262,14\d bytes .* when loaded, 4 in the file"):
        refuse_folded(graph, found, linear_layers=0)


def test_weights_that_are_made_whole_at_each_run_are_refused(tmp_path: Path) -> None:
    graph = weight_only_graph("rows")
    found = audited(graph, tmp_path)
    assert "DequantizeLinear" in found.operators, "onnxruntime runs this graph in another way now"
    with pytest.raises(CheckFailed, match="0 of 1 linear layers"):
        refuse_folded(graph, found, linear_layers=1)


def test_what_the_runtime_fuses_is_what_counts(tmp_path: Path) -> None:
    graph = weight_only_graph("tensor")
    found = audited(graph, tmp_path)
    if found.operators != {"MatMulNBits": 1}:
        pytest.skip("this onnxruntime does not fuse DequantizeLinear with the product")
    refuse_folded(graph, found, linear_layers=1)


@pytest.mark.parametrize(
    "treatment",
    [
        Treatment("dynamic", ""),
        Treatment("precise", "", frozenset(f"layers.0.{x}.weight" for x in ("o_proj", "qkv_proj"))),
        Treatment("weights", "", weights_only=True),
        *INT4_TREATMENTS,
    ],
    ids=lambda treatment: treatment.name,
)
@pytest.mark.parametrize("family", ["llama", "opt", "gemma3_text"])
def test_quantized_graphs_run_quantized(tmp_path: Path, family: Any, treatment: Treatment) -> None:
    whole = fused_graph(tiny_classifier(family, VOCABULARY), [3, 7])
    linear = 4 * (3 if family == "gemma3_text" else 2)
    small = quantize(whole, treatment)
    found = audited(small, tmp_path)
    refuse_folded(small, found, linear)
    # Where inputs are rounded in two passes, a layer is two products.
    assert found.quantized_matmuls == linear + len(treatment.two_passes)
    with pytest.raises(CheckFailed, match=f"of {linear + 3} linear layers"):
        refuse_folded(small, found, linear + 3)


def test_full_precision_runs_no_quantized_products(tmp_path: Path) -> None:
    whole = fused_graph(tiny_classifier("llama", VOCABULARY))
    found = audited(whole, tmp_path)
    assert found.quantized_matmuls == 0
    assert sum(found.operators.get(name, 0) for name in ("MatMul", "Gemm", "FusedMatMul")) == 9
    assert found.float_constant_bytes == pytest.approx(count(whole).float_constant_bytes, rel=0.01)
    with pytest.raises(CheckFailed, match="0 of 8"):
        refuse_folded(whole, found, 8)
