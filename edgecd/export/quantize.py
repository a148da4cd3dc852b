"""int8 for a classifier's graph, as a ladder of treatments from the fastest to the safest.

Weights and embeddings are int8, stored once, in every treatment; only the head stays fp32. The
treatments differ in how the *inputs* of the linear layers are rounded, which is where decoder
models lose their accuracy: a few tokens and channels are up to a thousand times larger than the
rest (https://arxiv.org/abs/2402.17762), and one scale for the whole tensor leaves the others a
handful of levels. A layer is rounded in one 8-bit pass, or in two, where the second pass multiplies
what the first one rounded away: nearly 16 bits of input, with the same int8 weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgecd.export.graph import MICROSOFT

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

HEAD = "score.weight"  # stays fp32: a few rows, whose error would go straight into the logits
OUTLIER_NOISE = 100.0
BLOCK = 32


@dataclass(frozen=True)
class ActivationRange:
    """How a linear layer's input is spread, over the real tokens of calibration texts."""

    max_abs: float
    median_row_max_abs: float
    median_row_rms: float

    @property
    def noise(self) -> float:
        """The largest value over a usual token's size: what one scale for all costs a token."""
        return self.max_abs / max(self.median_row_rms, 1e-12)


@dataclass(frozen=True)
class Treatment:
    """One way to quantize.

    `two_passes` names the weights whose input is rounded in two passes; with `weights_only` no
    input is rounded at all, and weights have a scale for every 32 values instead of every column.
    """

    name: str
    description: str
    two_passes: frozenset[str] = frozenset()
    weights_only: bool = False


def treatments(ranges: Mapping[str, ActivationRange]) -> tuple[Treatment, ...]:
    """The ladder for a graph with these ranges (see `activation_ranges`), fastest first."""
    by_noise = sorted(ranges, key=lambda name: -ranges[name].noise)
    outliers = [name for name in by_noise if ranges[name].noise >= OUTLIER_NOISE]
    half, all_but_few = by_noise[: len(by_noise) // 2], by_noise[: len(by_noise) * 3 // 4]
    ladder = [Treatment("dynamic", "every input rounded in one 8-bit pass")]
    for name, chosen in (("mixed", outliers), ("mixed-half", half), ("mixed-most", all_but_few)):
        if len(chosen) > len(ladder[-1].two_passes):
            description = f"the {len(chosen)} of {len(by_noise)} widest inputs in two passes"
            ladder.append(Treatment(name, description, frozenset(chosen)))
    ladder.append(Treatment("precise", "every input in two 8-bit passes", frozenset(by_noise)))
    ladder.append(Treatment("weights", "8-bit weights, inputs as they are", weights_only=True))
    return tuple(ladder)


def linear_names(graph: onnx.ModelProto) -> list[str]:
    """The weights that `quantize` rounds to int8 in linear layers, in the graph's order."""
    import onnx_ir as ir

    return [linear.name for linear in _linears(ir.from_proto(graph).graph)]


def activation_ranges(
    graph: onnx.ModelProto, batches: Sequence[Mapping[str, np.ndarray]], threads: int = 0
) -> dict[str, ActivationRange]:
    """Weight name -> range of that linear layer's input, over the real tokens of `batches`.

    Each batch holds `input_ids` and `attention_mask`, int64 [batch, sequence]. `threads` 0 means
    ONNX Runtime's default.
    """
    import onnx_ir as ir
    import onnxruntime

    model = ir.from_proto(graph)
    widths = {linear.name: linear.matrix().shape[0] for linear in _linears(model.graph)}
    probes = _probe_inputs(model.graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rows: dict[str, list[np.ndarray]] = {name: [] for name in probes}
    for batch in batches:
        real = batch["attention_mask"].astype(bool).reshape(-1)
        for name, found in zip(probes, session.run(probes, dict(batch)), strict=True):
            flat = found.reshape(-1)
            # After the last attention there is one row a text, and all of them are real.
            rows[name].append(flat[real] if flat.size == real.size else flat)
    values = {name: np.concatenate(parts) for name, parts in rows.items()}
    return {
        name: ActivationRange(
            max_abs=float(values[f"{name}:max"].max()),
            median_row_max_abs=float(np.median(values[f"{name}:max"])),
            median_row_rms=float(np.median(values[f"{name}:norm"]) / np.sqrt(width)),
        )
        for name, width in widths.items()
    }


def quantize(
    graph: onnx.ModelProto, treatment: Treatment, saturating: bool = False
) -> onnx.ModelProto:
    """The int8 graph: linear layers as the treatment says, embeddings by row. `graph` stays as is.

    `saturating` rounds weights to 7 bits, for x86 processors without VNNI: their 8-bit multiply
    adds two products in 16 bits, which overflow with 8-bit weights.
    """
    import onnx_ir as ir

    model = ir.from_proto(graph)
    levels = 63 if saturating else 127
    for linear in list(_linears(model.graph)):
        tape = ir.tape.Tape()
        if treatment.weights_only:
            result = _weights_only(tape, linear)
        elif linear.name in treatment.two_passes:
            result = _two_passes(tape, linear, levels)
        else:
            result = _one_pass(tape, linear, levels)
        _replace(model.graph, linear.nodes, result, tape)
    for node in list(model.graph):
        if node.op_type == "Gather" and _is_matrix(node.inputs[0]):
            tape = ir.tape.Tape()
            _replace(model.graph, [node], _embedding(tape, node), tape)
    initializers = model.graph.initializers
    for name in [name for name, value in initializers.items() if not value.uses()]:
        initializers.pop(name)
    return ir.to_proto(model)


@dataclass(frozen=True)
class _Linear:
    """A MatMul or Gemm by an initializer, with the Add of its bias where there is one."""

    nodes: Sequence[ir.Node]
    weight: ir.Value
    bias: ir.Value | None

    @property
    def name(self) -> str:
        return str(self.weight.name)

    @property
    def input(self) -> ir.Value:
        value = self.nodes[0].inputs[0]
        assert value is not None
        return value

    def matrix(self) -> np.ndarray:
        """The weight, [in, out]."""
        assert self.weight.const_value is not None
        array: np.ndarray = self.weight.const_value.numpy()
        return array.T if self.nodes[0].attributes.get_int("transB", 0) else array


def _linears(graph: ir.Graph) -> Iterator[_Linear]:
    for node in graph:
        if node.domain or node.op_type not in ("MatMul", "Gemm"):
            continue
        weight, bias, nodes = node.inputs[1], None, [node]
        if not _is_matrix(weight) or weight.name == HEAD:
            continue
        if node.op_type == "Gemm":
            bias = node.inputs[2] if len(node.inputs) > 2 else None
        elif len(uses := node.outputs[0].uses()) == 1 and uses[0].node.op_type == "Add":
            other = uses[0].node.inputs[1 - uses[0].idx]
            if other.is_initializer() and other.shape is not None and len(other.shape) == 1:
                bias, nodes = other, [node, uses[0].node]
        yield _Linear(nodes, weight, bias)


def _is_matrix(value: ir.Value | None) -> bool:
    import onnx_ir as ir

    return (
        value is not None
        and value.is_initializer()
        and value.dtype == ir.DataType.FLOAT
        and value.shape is not None
        and len(value.shape) == 2
    )


def _probe_inputs(graph: ir.Graph) -> list[str]:
    """Add each linear input's row maxima and row norms to the outputs; returns their names."""
    import onnx_ir as ir

    tape = ir.tape.Tape()
    axis = tape.initializer(ir.tensor(np.array([-1])), "ranges.axis")
    for linear in _linears(graph):
        size = tape.op("Abs", [linear.input])
        for name, operator in (("max", "ReduceMax"), ("norm", "ReduceL2")):
            row = tape.op(operator, [size, axis], {"keepdims": 0})
            row.name, row.dtype = f"{linear.name}:{name}", ir.DataType.FLOAT
            graph.outputs.append(row)
    graph.extend(tape.nodes)
    graph.register_initializer(axis)
    return [
        str(value.name) for value in graph.outputs if str(value.name).endswith((":max", ":norm"))
    ]


def _one_pass(tape: ir.tape.Tape, linear: _Linear, levels: int) -> ir.Value:
    weight, scale = _int8(tape, linear.matrix(), linear.name, axis=0, levels=levels)
    inputs = [linear.input, weight, scale, None, linear.bias]
    return tape.op("DynamicQuantizeMatMul", inputs, domain=MICROSOFT)


def _two_passes(tape: ir.tape.Tape, linear: _Linear, levels: int) -> ir.Value:
    weight, scale = _int8(tape, linear.matrix(), linear.name, axis=0, levels=levels)
    rounded, step, zero = tape.op_multi_out("DynamicQuantizeLinear", [linear.input], num_outputs=3)
    coarse_inputs = [rounded, weight, step, scale, zero, None, linear.bias]
    coarse = tape.op("MatMulIntegerToFloat", coarse_inputs, domain=MICROSOFT)
    rest = tape.op("Sub", [linear.input, tape.op("DequantizeLinear", [rounded, step, zero])])
    fine = tape.op("DynamicQuantizeMatMul", [rest, weight, scale], domain=MICROSOFT)
    return tape.op("Add", [coarse, fine])


def _weights_only(tape: ir.tape.Tape, linear: _Linear) -> ir.Value:
    """MatMulNBits: [out, blocks, 32] unsigned, 128 is zero; the last block is filled with zeros."""
    import onnx_ir as ir

    matrix = linear.matrix()
    width, outs = matrix.shape
    blocks = -(-width // BLOCK)
    filled = np.pad(matrix.T, ((0, 0), (0, blocks * BLOCK - width))).reshape(-1, BLOCK)
    rounded, scale = _round(filled, axis=1, levels=127)
    unsigned = (rounded.view(np.uint8) ^ 128).reshape(outs, blocks, BLOCK)
    weight = tape.initializer(ir.tensor(unsigned), f"{linear.name}.uint8")
    scales = tape.initializer(ir.tensor(scale.reshape(outs, blocks)), f"{linear.name}.scale")
    attributes = {"K": width, "N": outs, "bits": 8, "block_size": BLOCK, "accuracy_level": 1}
    inputs = [linear.input, weight, scales, None, None, linear.bias]
    return tape.op("MatMulNBits", inputs, attributes, domain=MICROSOFT)


def _embedding(tape: ir.tape.Tape, gather: ir.Node) -> ir.Value:
    """Gathers int8 rows and their scales, so that the table is never whole in fp32."""
    import onnx_ir as ir

    table, indices = gather.inputs
    assert table is not None and table.const_value is not None
    rows, scale = _int8(tape, table.const_value.numpy(), str(table.name), axis=1, levels=127)
    values = tape.op("Cast", [tape.op("Gather", [rows, indices])], {"to": ir.DataType.FLOAT.value})
    return tape.op("Mul", [values, tape.op("Gather", [scale, indices])])


def _int8(
    tape: ir.tape.Tape, matrix: np.ndarray, name: str, axis: int, levels: int
) -> tuple[ir.Value, ir.Value]:
    """Symmetric int8 with a scale for each slice along `axis`: [out], or [rows, 1] for axis 1."""
    import onnx_ir as ir

    rounded, scale = _round(matrix, axis, levels)
    return (
        tape.initializer(ir.tensor(rounded), f"{name}.int8"),
        tape.initializer(ir.tensor(scale.reshape(-1) if axis == 0 else scale), f"{name}.scale"),
    )


def _round(matrix: np.ndarray, axis: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """(int8, scales with `axis` kept) so that matrix is about int8 * scales."""
    scale = np.abs(matrix).max(axis=axis, keepdims=True) / np.float32(levels)
    scale[scale == 0] = 1
    return np.ascontiguousarray(np.rint(matrix / scale).astype(np.int8)), scale


def _replace(
    graph: ir.Graph, nodes: Sequence[ir.Node], result: ir.Value, tape: ir.tape.Tape
) -> None:
    import onnx_ir as ir

    for value in tape.initializers:
        graph.register_initializer(value)
    graph.insert_after(nodes[-1], tape.nodes)
    ir.convenience.replace_all_uses_with(nodes[-1].outputs[0], result)
    graph.remove(list(nodes), safe=True)
