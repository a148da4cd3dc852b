"""Half precision for a fused graph, for GPUs: weights and activations in fp16, logits in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgecd.formats.contract import LOGITS

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# Angles grow with the position, and fp16 counts exactly to 2,048 only.
_WIDE = ".frequencies"
_LARGEST = np.float32(np.finfo(np.float16).max)


def half_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The fused fp32 graph (see `graph.write_graph`) in fp16; `graph` stays as it is."""
    import onnx_ir as ir

    model = ir.from_proto(graph)
    body = model.graph
    for name, value in list(body.initializers.items()):
        if value.dtype != ir.DataType.FLOAT or name.endswith(_WIDE):
            continue
        assert value.const_value is not None
        halved = np.clip(value.const_value.numpy(), -_LARGEST, _LARGEST).astype(np.float16)
        value.const_value = ir.tensor(halved, name=name)
        value.dtype = ir.DataType.FLOAT16
    for given in body.inputs:  # a context stays as it is outside
        if given.dtype == ir.DataType.FLOAT:
            _cast_input(body, given)
    for node in list(body):
        if node.op_type in ("Cos", "Sin"):
            _cast_after(body, node, ir.DataType.FLOAT16)
    (logits,) = body.outputs
    producer = logits.producer()
    assert producer is not None
    logits.name = f"{LOGITS}_fp16"
    wide = _cast_after(body, producer, ir.DataType.FLOAT)
    wide.name, wide.dtype, wide.shape = LOGITS, ir.DataType.FLOAT, logits.shape
    logits.dtype = ir.DataType.FLOAT16
    body.outputs[0] = wide
    return ir.to_proto(model)


def _cast_input(graph: ir.Graph, given: ir.Value) -> None:
    import onnx_ir as ir

    tape = ir.tape.Tape()
    users = list(given.uses())
    cast = tape.op("Cast", [given], {"to": ir.DataType.FLOAT16.value})
    graph.insert_before(graph[0], tape.nodes)
    for use in users:
        use.node.replace_input_with(use.idx, cast)


def _cast_after(graph: ir.Graph, node: ir.Node, dtype: ir.DataType) -> ir.Value:
    import onnx_ir as ir

    tape = ir.tape.Tape()
    result = node.outputs[0]
    users = list(result.uses())
    cast = tape.op("Cast", [result], {"to": dtype.value})
    graph.insert_after(node, tape.nodes)
    for use in users:
        use.node.replace_input_with(use.idx, cast)
    return cast
