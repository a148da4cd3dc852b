"""Writes a decoder classifier as one fused ONNX graph, straight from its weights.

Packed QKV, attention in one operator, normalisation with the residual sum, packed gate and up.
The last real token is taken right after the last attention, so that the last MLP, the final norm
and the head run for one token only.

Graph contract: `input_ids` and `attention_mask`, int64 [batch, sequence], right padded (1 = real);
`logits`, float32 [batch, labels]. With a constant prefix the first tokens of every row must be that
prefix: the graph leaves them out, as their keys and values are in it. Padding is on the right and
attention is causal, so that a real token never sees padding and no mask is needed.

An open graph is a language model's: what comes before the text, and the rows of the head, are
inputs, too. `past`, float32 [layers, 2, kv_heads, positions, head_size], holds keys (after
rotation) and values of at least one position, `head` is float32 [labels, width].

Operators: https://onnx.ai/onnx/operators and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecd.errors import InputError
from edgecd.export.families import read_stack
from edgecd.export.layers import linear, placed, run_layers
from edgecd.export.shared import PAST_LENGTH, Shared
from edgecd.export.stack import Past, Stack
from edgecd.export.tape import constant, input_ids, ints, op, written
from edgecd.formats.contract import HEAD, INPUTS, LOGITS, PAST

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from transformers import PreTrainedModel

PROTOBUF_LIMIT_BYTES = 2**31 - 2**20  # a single ONNX file is one protobuf message; 1 MiB for nodes


def fused_graph(model: PreTrainedModel, prefix: Sequence[int] = ()) -> onnx.ModelProto:
    """The fp32 graph of a `*ForSequenceClassification` model of one of `FUSED_FAMILIES`.

    `prefix`: token ids that every text starts with, folded into constants (see `read_stack`).
    Raises InputError for a family or a configuration that it cannot write exactly, and for
    weights that do not fit a single ONNX file.
    """
    refuse_too_large(model)
    return write_graph(read_stack(model, prefix))


def write_graph(stack: Stack, is_open: bool = False) -> onnx.ModelProto:
    """The fp32 graph of a described classifier; InputError for an activation it cannot write.

    With `is_open` its constant tokens and its head become inputs.
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    inputs = [input_ids(name) for name in INPUTS]
    if is_open:
        past, head = _open_inputs(stack)
        shared = Shared(tape, stack, inputs[0], past)
        hidden = _decoder(tape, stack, inputs[0], inputs[1], shared)
        logits = op(tape, "MatMul", hidden, op(tape, "Transpose", head, perm=[1, 0]))
        inputs += [past, head]
        columns: int | str = "labels"
    else:
        tokens, mask = (_after_prefix(tape, stack, value) for value in inputs)
        hidden = _decoder(tape, stack, tokens, mask, Shared(tape, stack, tokens))
        logits = linear(tape, hidden, [stack.head], "score")
        columns = stack.head.weight.shape[1]
    return written(tape, inputs, logits, LOGITS, ("batch", columns))


def _open_inputs(stack: Stack) -> tuple[ir.Value, ir.Value]:
    """The inputs `past` and `head` of an open graph."""
    import onnx_ir as ir

    attention = stack.blocks[0].attention
    shape = (len(stack.blocks), 2, attention.kv_heads, "positions", attention.head_size)
    return (
        ir.val(PAST, dtype=ir.DataType.FLOAT, shape=shape),
        ir.val(HEAD, dtype=ir.DataType.FLOAT, shape=("labels", stack.head.weight.shape[0])),
    )


def replace_past(graph: onnx.ModelProto, pasts: Sequence[Past]) -> None:
    """Put other constant tokens into a graph that has some, one Past for each layer, in place.

    The keys and values must be of the same model, and rewritten like its weights.
    """
    import onnx

    new: dict[str, np.ndarray] = {PAST_LENGTH: np.array([pasts[0].keys.shape[1]], np.int64)}
    for number, past in enumerate(pasts):
        new[f"layers.{number}.past_keys"] = past.keys[None]
        new[f"layers.{number}.past_values"] = past.values[None]
    for tensor in graph.graph.initializer:
        if tensor.name in new:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            array = np.ascontiguousarray(new.pop(tensor.name).astype(dtype))
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    if new:
        raise ValueError(f"the graph has no constant tokens: {', '.join(new)} are missing")


def refuse_too_large(model: PreTrainedModel) -> None:
    """Raise InputError when the model's fp32 weights exceed what one ONNX file can hold."""
    size_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    if size_bytes > PROTOBUF_LIMIT_BYTES:
        raise InputError(
            f"{type(model).__name__} has {size_bytes / 1e9:.1f} GB of fp32 weights, and a "
            "self-contained ONNX file holds 2.1 GB at most: choose a smaller student"
        )


def _after_prefix(tape: ir.tape.Tape, stack: Stack, tokens: ir.Value) -> ir.Value:
    if stack.past_length == 0:
        return tokens
    start = ints(tape, PAST_LENGTH, [stack.past_length])
    end = ints(tape, "end", [np.iinfo(np.int64).max])
    return op(tape, "Slice", tokens, start, end, ints(tape, "axis_1", [1]))


def _decoder(
    tape: ir.tape.Tape,
    stack: Stack,
    input_ids: ir.Value,
    attention_mask: ir.Value,
    shared: Shared,
) -> ir.Value:
    """Nodes from tokens after the prefix to the last real one's final state, [batch, width]."""
    lengths = op(tape, "ReduceSum", attention_mask, ints(tape, "axis_1", [1]), keepdims=0)
    last = op(tape, "Sub", lengths, ints(tape, "one", [1]))
    last_index = op(tape, "Unsqueeze", last, ints(tape, "axis_1", [1]))
    hidden = op(tape, "Gather", constant(tape, stack.tokens, "embed_tokens.weight"), input_ids)
    return run_layers(tape, stack, placed(tape, stack, hidden, shared), shared, last_index)
