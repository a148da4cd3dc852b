"""Writing an ONNX graph node by node: operators and constants on a tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

OPSET = 23  # the first with Attention
IR_VERSION = 10
MICROSOFT = "com.microsoft"


def op(
    tape: ir.tape.Tape,
    operator: str,
    *inputs: ir.Value | None,
    domain: str = "",
    outputs: int = 1,
    **attributes: Any,
) -> Any:
    """Append a node; returns its output, or the sequence of them when `outputs` is above 1."""
    made = tape.op_multi_out(operator, inputs, attributes, domain=domain, num_outputs=outputs)
    return made[0] if outputs == 1 else made


def ints(tape: ir.tape.Tape, name: str, value: int | list[int]) -> ir.Value:
    """A constant of whole numbers, int64."""
    return constant(tape, np.array(value, dtype=np.int64), name)


def constant(tape: ir.tape.Tape, array: np.ndarray, name: str) -> ir.Value:
    """The initializer of that name, made on first use."""
    import onnx_ir as ir

    for value in tape.initializers:
        if value.name == name:
            return value
    return tape.initializer(ir.tensor(np.asarray(array, order="C")), name)


def input_ids(name: str) -> ir.Value:
    """An input of tokens or their mask, int64 [batch, sequence]."""
    import onnx_ir as ir

    return ir.val(name, dtype=ir.DataType.INT64, shape=("batch", "sequence"))


def written(
    tape: ir.tape.Tape,
    inputs: Sequence[ir.Value],
    output: ir.Value,
    name: str,
    shape: Sequence[int | str],
) -> onnx.ModelProto:
    """The tape as a model with one output of that name and shape; the tape lets its weights go."""
    import onnx_ir as ir

    output.name, output.dtype, output.shape = name, ir.DataType.FLOAT, ir.Shape(shape)
    graph = ir.Graph(
        inputs=inputs,
        outputs=[output],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports={"": OPSET, MICROSOFT: 1},
        name="edgecd",
    )
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, producer_name="edgecd"))
    for value in tape.initializers:  # nodes and values refer to each other, and would keep them
        value.const_value = None
    return model
