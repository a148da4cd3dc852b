"""Activation statistics: what the linear layers of a graph are given, measured on texts.

They tell what rounds the weights which errors matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.formats.contract import INPUTS, LOGITS
from edgecd.runtime.session import graph_inputs
from edgecd.tasks.batching import batches
from edgecd.tasks.encoding import Encoded

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

FEED_ROWS = 8

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class LinearInput:
    """A linear layer's input over the real tokens of some texts.

    `rms` [in] is each channel's size; `gram` [in, in] is the sum of x^T x (the Hessian of the
    layer's squared error), where it was asked for; `max_abs` and `row_rms` are the largest value
    and a usual token's size.
    """

    rms: NDArray[np.float32]
    gram: NDArray[np.float32] | None
    max_abs: float
    row_rms: float

    @property
    def noise(self) -> float:
        """The largest value over a usual token's size: what one scale for all costs a token."""
        return self.max_abs / max(self.row_rms, 1e-12)


@dataclass(frozen=True)
class LinearNodes:
    """A MatMul or Gemm by an initializer, with the Add of its bias where there is one."""

    nodes: Sequence[ir.Node]
    weight: ir.Value
    bias: ir.Value | None

    @property
    def name(self) -> str:
        """The name of its weight."""
        return str(self.weight.name)

    @property
    def input(self) -> ir.Value:
        """What it multiplies."""
        value = self.nodes[0].inputs[0]
        assert value is not None
        return value

    def matrix(self) -> NDArray[np.float32]:
        """The weight, [in, out]."""
        assert self.weight.const_value is not None
        array: NDArray[np.float32] = self.weight.const_value.numpy()
        return array.T if self.nodes[0].attributes.get_int("transB", 0) else array


def linears(graph: ir.Graph) -> Iterator[LinearNodes]:
    """The linear layers of a graph that are to be quantized, in its order.

    The head stays fp32: a few rows, whose error would go straight into the logits.
    """
    for node in graph:
        if node.domain or node.op_type not in ("MatMul", "Gemm"):
            continue
        weight, bias, nodes = node.inputs[1], None, [node]
        if not is_matrix(weight) or weight.name.endswith(".rotation"):
            continue
        if node.op_type == "Gemm":
            bias = node.inputs[2] if len(node.inputs) > 2 else None
        elif len(uses := node.outputs[0].uses()) == 1 and uses[0].node.op_type == "Add":
            other = uses[0].node.inputs[1 - uses[0].idx]
            if other.is_initializer() and other.shape is not None and len(other.shape) == 1:
                bias, nodes = other, [node, uses[0].node]
        if nodes[-1].outputs[0].name != LOGITS:
            yield LinearNodes(nodes, weight, bias)


def is_matrix(value: ir.Value | None) -> bool:
    """Whether a value is a constant fp32 matrix."""
    import onnx_ir as ir

    return (
        value is not None
        and value.is_initializer()
        and value.dtype == ir.DataType.FLOAT
        and value.shape is not None
        and len(value.shape) == 2
    )


def make_feeds(
    encoded: Sequence[Encoded],
    pad_token_id: int,
    rows: int = FEED_ROWS,
    names: Collection[str] = INPUTS,
) -> list[Feed]:
    """Token ids as the inputs `names` of a graph, in batches of similar length."""
    return [
        graph_inputs([encoded[place] for place in places], pad_token_id, names)
        for places in batches([len(one.ids) for one in encoded], rows)
    ]


def measure_activations(
    graph: onnx.ModelProto, feeds: Sequence[Feed], grams: bool = True, threads: int = 0
) -> dict[str, LinearInput]:
    """Weight name -> what that linear layer was given, over the real tokens of `feeds`.

    Each feed holds a graph's inputs by name (see `formats.contract`). `threads` 0 means ONNX
    Runtime's default.
    """
    import onnx_ir as ir

    inputs = {layer.name: str(layer.input.name) for layer in linears(ir.from_proto(graph).graph)}
    wanted = list(dict.fromkeys(inputs.values()))
    session = _session_giving(graph, wanted, threads)
    sums = {name: _Sums(grams) for name in inputs}
    for feed in feeds:
        mask = feed[INPUTS[1]].astype(bool)
        found = dict(zip(wanted, session.run(wanted, dict(feed)), strict=True))
        for name, given in inputs.items():
            states = found[given]
            # A constant prefix is left out; after the last attention there is one row a text.
            tokens = states.reshape(-1, states.shape[-1])
            real = mask[:, mask.shape[1] - len(tokens) // len(mask) :].reshape(-1)
            sums[name].add(tokens[real] if len(tokens) > len(mask) else tokens)
    return {name: total.done() for name, total in sums.items()}


def _session_giving(graph: onnx.ModelProto, names: Sequence[str], threads: int) -> Any:
    """A session that gives inner values, too; the graph is changed for a moment, not copied."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # A copy of all weights, for a session that runs a few batches.
    options.add_session_config_entry("session.disable_prepacking", "1")
    outputs = graph.graph.output
    before = len(outputs)
    for name in names:
        outputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    try:
        return onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    finally:
        del outputs[before:]


class _Sums:
    """Running sums of one layer's inputs."""

    def __init__(self, grams: bool) -> None:
        self.grams = grams
        self.squares: Any = 0  # gram, or its diagonal only
        self.rows, self.max_abs = 0, 0.0
        self.row_rms: list[NDArray[np.float32]] = []

    def add(self, states: NDArray[np.float32]) -> None:
        """Count rows [tokens, in]."""
        self.squares = self.squares + (
            states.T @ states if self.grams else np.square(states).sum(axis=0)
        )
        self.rows += len(states)
        self.max_abs = max(self.max_abs, float(np.abs(states).max(initial=0)))
        self.row_rms.append(np.sqrt(np.mean(np.square(states), axis=-1)))

    def done(self) -> LinearInput:
        """The statistics of all rows."""
        rms = np.sqrt((np.diag(self.squares) if self.grams else self.squares) / self.rows)
        gram = self.squares if self.grams else None
        return LinearInput(rms, gram, self.max_abs, float(np.median(np.hstack(self.row_rms))))
