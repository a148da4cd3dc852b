"""int8 and int4 for a classifier's graph, as a ladder of treatments from the fastest to the safest.

Weights and embeddings are rounded, and stored once, in every treatment; only the head stays fp32.
The int8 treatments differ in how the *inputs* of the linear layers are rounded: in one 8-bit pass
with one scale for the whole text, or in two, where the second pass multiplies what the first one
rounded away (nearly 16 bits of input, with the same int8 weights), or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgecd.export.activations import LinearInput, LinearNodes, is_matrix, linears
from edgecd.export.rounding import Rounded, round_weight
from edgecd.export.tape import MICROSOFT

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# Values that share a scale, by bits, where there is not one for a whole column or row.
BLOCKS = {8: 32, 4: 64}


@dataclass(frozen=True)
class Treatment:
    """One way to quantize.

    `two_passes` names the weights whose input is rounded in two passes; with `weights_only` no
    input is rounded for the whole text, and weights of `bits` have a scale for each of their
    BLOCKS instead of each column.
    """

    name: str
    description: str
    two_passes: frozenset[str] = frozenset()
    weights_only: bool = False
    bits: int = 8


WEIGHTS_ONLY = Treatment("weights", "8-bit weights, inputs as they are", weights_only=True)
INT4_TREATMENTS = (Treatment("int4", "4-bit weights and embeddings", weights_only=True, bits=4),)


def int8_treatments(inputs: Mapping[str, LinearInput]) -> tuple[Treatment, ...]:
    """The int8 ladder for a graph whose linear layers get these inputs, fastest first."""
    by_noise = sorted(inputs, key=lambda name: -inputs[name].noise)
    ladder = [Treatment("dynamic", "every input rounded in one 8-bit pass")]
    for name, share in (("mixed-few", 1 / 8), ("mixed-half", 1 / 2)):
        if chosen := by_noise[: round(len(by_noise) * share)]:
            description = f"the {len(chosen)} of {len(by_noise)} widest inputs in two passes"
            ladder.append(Treatment(name, description, frozenset(chosen)))
    ladder.append(Treatment("precise", "every input in two 8-bit passes", frozenset(by_noise)))
    return (*ladder, WEIGHTS_ONLY)


Rounder = Callable[[str, "np.ndarray", int | None, int], Rounded]


def rounder(inputs: Mapping[str, LinearInput] | None = None) -> Rounder:
    """(name, weight [in, out], group, levels) -> Rounded, each computed once.

    With `inputs` (see `measure_activations`) the outputs change least; without, weights go to the
    nearest.
    """
    done: dict[tuple[str, int | None, int], Rounded] = {}

    def round_linear(name: str, weight: np.ndarray, group: int | None, levels: int) -> Rounded:
        key = (name, group, levels)
        if key not in done:
            gram = inputs[name].gram if inputs and name in inputs else None
            if gram is not None:
                gram = np.pad(gram, (0, len(weight) - len(gram)))  # filled up to a block
            done[key] = round_weight(weight, levels, gram, group)
        return done[key]

    return round_linear


def quantize(
    graph: onnx.ModelProto,
    treatment: Treatment,
    round_linear: Rounder | None = None,
    weight_bits: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> onnx.ModelProto:
    """The quantized graph: linear layers as the treatment says, embeddings by row or block.

    `graph` stays as it is. `weight_bits` 7 is for devices whose 8-bit dot products saturate:
    they add two products in 16 bits, which overflow with 8-bit weights.
    """
    import onnx_ir as ir

    model = ir.from_proto(graph)
    round_linear = round_linear or rounder()
    levels = 2 ** (weight_bits - 1) - 1
    layers = list(linears(model.graph))
    for done, layer in enumerate(layers, start=1):
        tape = ir.tape.Tape()
        if treatment.weights_only:
            result = _weights_only(tape, layer, round_linear, treatment.bits)
        elif layer.name in treatment.two_passes:
            result = _two_passes(tape, layer, round_linear, levels)
        else:
            result = _one_pass(tape, layer, round_linear, levels)
        _replace(model.graph, layer.nodes, result, tape)
        progress(done, len(layers))
    for node in list(model.graph):
        if node.op_type in ("Gather", "Slice") and is_matrix(node.inputs[0]):
            tape = ir.tape.Tape()
            if treatment.bits == 4 and node.op_type == "Gather":
                result = _embedding4(tape, node)
            else:
                result = _embedding8(tape, node)
            _replace(model.graph, [node], result, tape)
    initializers = model.graph.initializers
    for name in [name for name, value in initializers.items() if not value.uses()]:
        initializers.pop(name)
    return ir.to_proto(model)


def _int8(
    tape: ir.tape.Tape, layer: LinearNodes, round_linear: Rounder, levels: int
) -> tuple[ir.Value, ir.Value]:
    """int8 weight [in, out] and its scales [out]."""
    import onnx_ir as ir

    rounded = round_linear(layer.name, layer.matrix(), None, levels)
    return (
        tape.initializer(ir.tensor(rounded.values), f"{layer.name}.int8"),
        tape.initializer(ir.tensor(rounded.scales[0]), f"{layer.name}.scale"),
    )


def _one_pass(
    tape: ir.tape.Tape, layer: LinearNodes, round_linear: Rounder, levels: int
) -> ir.Value:
    weight, scale = _int8(tape, layer, round_linear, levels)
    inputs = [layer.input, weight, scale, None, layer.bias]
    return tape.op("DynamicQuantizeMatMul", inputs, domain=MICROSOFT)


def _two_passes(
    tape: ir.tape.Tape, layer: LinearNodes, round_linear: Rounder, levels: int
) -> ir.Value:
    import onnx_ir as ir

    weight, scale = _int8(tape, layer, round_linear, levels)
    # Folded into a weight of its own when the graph is loaded: where 8-bit products saturate,
    # onnxruntime rewrites weights (x64quantprecision), and fails at one that two nodes share.
    shape = tape.initializer(ir.tensor(np.array(weight.shape.numpy())), f"{layer.name}.shape")
    again = tape.op("Reshape", [weight, shape])
    rounded, step, zero = tape.op_multi_out("DynamicQuantizeLinear", [layer.input], num_outputs=3)
    coarse_inputs = [rounded, weight, step, scale, zero, None, layer.bias]
    coarse = tape.op("MatMulIntegerToFloat", coarse_inputs, domain=MICROSOFT)
    rest = tape.op("Sub", [layer.input, tape.op("DequantizeLinear", [rounded, step, zero])])
    fine = tape.op("DynamicQuantizeMatMul", [rest, again, scale], domain=MICROSOFT)
    return tape.op("Add", [coarse, fine])


def _weights_only(
    tape: ir.tape.Tape, layer: LinearNodes, round_linear: Rounder, bits: int
) -> ir.Value:
    """MatMulNBits: [out, blocks, bytes], unsigned; the last block is filled up with zeros."""
    import onnx_ir as ir

    block = BLOCKS[bits]
    matrix = layer.matrix()
    width, outs = matrix.shape
    filled = np.pad(matrix, ((0, -width % block), (0, 0)))
    rounded = round_linear(layer.name, filled, block, 2 ** (bits - 1) - 1)
    packed = _packed(rounded.values.T.reshape(outs, -1, block), bits)
    weight = tape.initializer(ir.tensor(packed), f"{layer.name}.uint{bits}")
    scales = tape.initializer(
        ir.tensor(np.ascontiguousarray(rounded.scales.T)), f"{layer.name}.scale"
    )
    attributes = {"K": width, "N": outs, "bits": bits, "block_size": block}
    attributes["accuracy_level"] = 1 if bits == 8 else 4  # 4 rounds each block of the input
    inputs = [layer.input, weight, scales, None, None, layer.bias]
    return tape.op("MatMulNBits", inputs, attributes, domain=MICROSOFT)


def _embedding8(tape: ir.tape.Tape, node: ir.Node) -> ir.Value:
    """Takes int8 rows and their scales, so that the table is never whole in fp32."""
    import onnx_ir as ir

    table = node.inputs[0]
    assert table is not None and table.const_value is not None
    rounded = round_weight(table.const_value.numpy().T, 127)
    rows = tape.initializer(ir.tensor(np.ascontiguousarray(rounded.values.T)), f"{table.name}.int8")
    scales = tape.initializer(ir.tensor(rounded.scales.T.copy()), f"{table.name}.scale")
    taken, scale = (tape.op(node.op_type, [part, *node.inputs[1:]]) for part in (rows, scales))
    values = tape.op("Cast", [taken], {"to": ir.DataType.FLOAT.value})
    return tape.op("Mul", [values, scale])


def _embedding4(tape: ir.tape.Tape, node: ir.Node) -> ir.Value:
    """Takes 4-bit rows, with a scale for each block."""
    import onnx_ir as ir

    table, indices = node.inputs
    assert table is not None and table.const_value is not None
    values = table.const_value.numpy()
    block = BLOCKS[4]
    filled = np.pad(values, ((0, 0), (0, -values.shape[1] % block)))
    blocks = filled.reshape(-1, block).T
    rounded = round_weight(blocks, 7)
    rows = _packed(rounded.values.T.reshape(filled.shape), 4)
    scales = rounded.scales.reshape(len(values), -1)
    data = tape.initializer(ir.tensor(rows), f"{table.name}.uint4")
    scale = tape.initializer(ir.tensor(scales), f"{table.name}.scale")
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "bits": 4}
    taken = tape.op("GatherBlockQuantized", [data, indices, scale], attributes, domain=MICROSOFT)
    if filled.shape[1] == values.shape[1]:
        return taken
    bounds = (
        tape.initializer(ir.tensor(np.array([number])), f"{table.name}.{name}")
        for name, number in (("start", 0), ("width", values.shape[1]), ("axis", -1))
    )
    return tape.op("Slice", [taken, *bounds])


def _packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Signed values as unsigned ones around the middle; two to a byte, the first one low."""
    unsigned = (values.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return unsigned if bits == 8 else np.asarray(unsigned[..., 0::2] | (unsigned[..., 1::2] << 4))


def _replace(
    graph: ir.Graph, nodes: Sequence[ir.Node], result: ir.Value, tape: ir.tape.Tape
) -> None:
    import onnx_ir as ir

    for value in tape.initializers:
        graph.register_initializer(value)
    graph.insert_after(nodes[-1], tape.nodes)
    ir.convenience.replace_all_uses_with(nodes[-1].outputs[0], result)
    graph.remove(list(nodes), safe=True)
