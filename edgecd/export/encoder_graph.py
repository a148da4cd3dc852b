"""Writes an encoder classifier as one fused ONNX graph, straight from its weights.

Packed QKV, attention in one operator, and no more of the last layer than its head reads: one query
and one MLP row, for the first token.

Graph contract: `input_ids` and `attention_mask`, int64 [batch, sequence], right padded (1 = real),
and `token_type_ids` of the same shape where the family has segments; `logits`, float32
[batch, labels]. A sequence may be as long as the table of positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgecd.export.encoder_stack import EncoderStack
from edgecd.export.layers import after_sublayer, feed_forward, linear, normalized
from edgecd.export.stack import Attention
from edgecd.export.tape import constant, input_ids, ints, op, written
from edgecd.formats.contract import INPUTS, LOGITS, SEGMENTS

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_POOLER_ACTIVATIONS: Mapping[str, str] = {"tanh": "Tanh", "relu": "Relu"}


def write_encoder_graph(stack: EncoderStack) -> onnx.ModelProto:
    """The fp32 graph of a described classifier; InputError for an activation it cannot write."""
    import onnx_ir as ir

    tape = ir.tape.Tape()
    names = INPUTS if stack.segments is None else (*INPUTS, SEGMENTS)
    inputs = [input_ids(name) for name in names]
    hidden = _embeddings(tape, stack, inputs[0], *inputs[2:])
    first = _run_layers(tape, stack, hidden, _key_mask(tape, inputs[1]))
    pooled = linear(tape, first, [stack.pooler], "pooler")
    pooled = op(tape, _POOLER_ACTIVATIONS[stack.pooler_activation], pooled)
    logits = linear(tape, pooled, [stack.head], "score")
    return written(tape, inputs, logits, LOGITS, ("batch", stack.head.weight.shape[1]))


def _embeddings(
    tape: ir.tape.Tape, stack: EncoderStack, tokens: ir.Value, segments: ir.Value | None = None
) -> ir.Value:
    """int64 [batch, sequence] -> [batch, sequence, width], normalised."""
    hidden = op(tape, "Gather", constant(tape, stack.tokens, "embed_tokens.weight"), tokens)
    # Not a Gather: ONNX Runtime would fuse it with the norm, into what it cannot run in int8.
    table = constant(tape, stack.positions, "embed_positions.weight")
    length = op(tape, "Shape", tokens, start=1, end=2)
    start, axis = ints(tape, "first", [0]), ints(tape, "axis_0", [0])
    hidden = op(tape, "Add", hidden, op(tape, "Slice", table, start, length, axis))
    if segments is not None and stack.segments is not None:
        table = constant(tape, stack.segments, "embed_segments.weight")
        hidden = op(tape, "Add", hidden, op(tape, "Gather", table, segments))
    return normalized(tape, hidden, stack.embedding_norm, "embed_norm")


def _key_mask(tape: ir.tape.Tape, attention_mask: ir.Value) -> ir.Value:
    """Which keys are real, bool [batch, 1, 1, sequence]."""
    import onnx_ir as ir

    real = op(tape, "Cast", attention_mask, to=ir.DataType.BOOL.value)
    return op(tape, "Unsqueeze", real, ints(tape, "axes_1_2", [1, 2]))


def _run_layers(
    tape: ir.tape.Tape, stack: EncoderStack, hidden: ir.Value, key_mask: ir.Value
) -> ir.Value:
    """Nodes through all layers: [batch, sequence, width] -> the first token's, [batch, width]."""
    # ONNX Runtime's Attention wants a mask for each query.
    length = op(tape, "Shape", hidden, start=1, end=2)
    ones, one = ints(tape, "ones_2", [1, 1]), ints(tape, "ones_1", [1])
    mask = op(tape, "Expand", key_mask, op(tape, "Concat", ones, length, one, axis=0))
    last = len(stack.blocks) - 1
    for number, block in enumerate(stack.blocks):
        name = f"layers.{number}"
        if number == last:  # nothing after this mixes tokens
            first = op(tape, "Gather", hidden, ints(tape, "first_token", 0), axis=1)
            attended = _last_attention(tape, hidden, first, block.attention, key_mask, name)
            hidden = first
        else:
            attended = _attention(tape, hidden, block.attention, mask, name)
        update = linear(tape, attended, [block.attention.out], f"{name}.o_proj")
        hidden, _ = after_sublayer(tape, hidden, update, block.attention_norms, f"{name}.attention")
        update = feed_forward(tape, hidden, block.mlp, name)
        hidden, _ = after_sublayer(tape, hidden, update, block.mlp_norms, f"{name}.mlp")
    return hidden


def _attention(
    tape: ir.tape.Tape, hidden: ir.Value, attention: Attention, mask: ir.Value, name: str
) -> ir.Value:
    """[batch, sequence, width] -> the same, of every token."""
    packed = linear(tape, hidden, [attention.q, attention.k, attention.v], f"{name}.qkv_proj")
    query, key, value = op(tape, "Split", packed, axis=-1, num_outputs=3, outputs=3)
    return _attended(tape, query, key, value, attention, mask)


def _last_attention(
    tape: ir.tape.Tape,
    hidden: ir.Value,
    first: ir.Value,
    attention: Attention,
    key_mask: ir.Value,
    name: str,
) -> ir.Value:
    """What the first token, [batch, width], takes of all."""
    packed = linear(tape, hidden, [attention.k, attention.v], f"{name}.kv_proj")
    key, value = op(tape, "Split", packed, axis=-1, num_outputs=2, outputs=2)
    axis = ints(tape, "axis_1", [1])
    query = op(tape, "Unsqueeze", linear(tape, first, [attention.q], f"{name}.q_proj"), axis)
    return op(tape, "Squeeze", _attended(tape, query, key, value, attention, key_mask), axis)


def _attended(
    tape: ir.tape.Tape,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    attention: Attention,
    mask: ir.Value,
) -> ir.Value:
    attended: ir.Value = op(
        tape,
        "Attention",
        query,
        key,
        value,
        mask,
        q_num_heads=attention.heads,
        kv_num_heads=attention.kv_heads,
        scale=float(attention.scale),
    )
    return attended
