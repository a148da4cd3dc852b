"""The graphs that make contexts: a distiller's reader, and what a model remembers.

Written with the parts of a classifier's graph (see `graph`): the same layers, other ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgecd.export.layers import linear, placed, run_layers
from edgecd.export.shared import Shared
from edgecd.export.stack import Linear, Stack
from edgecd.export.tape import constant, input_ids, ints, op, written
from edgecd.formats.contract import INPUTS, PAST

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

VECTORS, READ = "vectors", "read"


def reader_graph(
    stack: Stack,
    placeholders: np.ndarray,
    project: Linear | None,
    scale: tuple[np.ndarray, np.ndarray] | None,
) -> onnx.ModelProto:
    """A distiller's reader: `input_ids` [1, sequence] -> `vectors` [1, positions, width].

    The states at the placeholders [positions, reader's width], which follow the tokens, through
    `project` and tanh where there is one, with each channel's gain and shift [width] of `scale`.
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    tokens, count = input_ids(INPUTS[0]), placeholders.shape[0]
    embedded = op(tape, "Gather", constant(tape, stack.tokens, "embed_tokens.weight"), tokens)
    read = op(tape, "Concat", embedded, constant(tape, placeholders[None], "placeholders"), axis=1)
    shared = Shared(tape, stack, read)
    states = run_layers(tape, stack, placed(tape, stack, read, shared), shared)
    end = ints(tape, "end", [np.iinfo(np.int64).max])
    start, axis = ints(tape, "first_placeholder", [-count]), ints(tape, "axis_1", [1])
    vectors = op(tape, "Slice", states, start, end, axis)
    if project is not None:
        vectors = op(tape, "Tanh", linear(tape, vectors, [project], "project"))
    if scale is not None:
        vectors = op(tape, "Mul", vectors, constant(tape, scale[0], "gain"))
        vectors = op(tape, "Add", vectors, constant(tape, scale[1], "shift"))
    return written(tape, [tokens], vectors, VECTORS, (1, count, "width"))


def vectors_graph(stack: Stack) -> onnx.ModelProto:
    """What a language model remembers of vectors in place of embeddings.

    `vectors` [1, positions, width] -> `past` [layers, 2, kv_heads, positions, head_size].
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    width = stack.tokens.shape[1]
    vectors = ir.val(VECTORS, dtype=ir.DataType.FLOAT, shape=(1, "positions", width))
    shared = Shared(tape, stack, vectors)
    run_layers(tape, stack, placed(tape, stack, vectors, shared), shared)
    return written(tape, [vectors], _all_states(tape, stack, shared), PAST, _sizes(stack))


def prefix_graph(change: np.ndarray, base: np.ndarray) -> onnx.ModelProto:
    """A hypernetwork's end: `vectors` [1, positions, width] -> `past`, as of `vectors_graph`.

    `change` [width, layers * 2 * kv_heads * head_size] is added to `base`, of the past's shape.
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    layers, two, heads, positions, size = base.shape
    vectors = ir.val(VECTORS, dtype=ir.DataType.FLOAT, shape=(1, positions, change.shape[0]))
    flat = linear(tape, vectors, [Linear(change)], "change")
    shape = ints(tape, "by_position", [positions, layers, two, heads, size])
    moved = op(tape, "Transpose", op(tape, "Reshape", flat, shape), perm=[1, 2, 3, 0, 4])
    past = op(tape, "Add", moved, constant(tape, base, "base"))
    return written(tape, [vectors], past, PAST, base.shape)


def tokens_graph(stack: Stack) -> onnx.ModelProto:
    """What a model remembers of tokens: `input_ids` [1, sequence] -> `read`, a past.

    Of a shape as that of `vectors_graph`. Rotary places are such that 1 is the next one's.
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    tokens = input_ids(INPUTS[0])
    first = None
    if stack.positions is None:
        length = op(tape, "Shape", tokens, start=1, end=2)
        first = op(tape, "Sub", ints(tape, "one", [1]), length)
    shared = Shared(tape, stack, tokens, first=first)
    embedded = op(tape, "Gather", constant(tape, stack.tokens, "embed_tokens.weight"), tokens)
    run_layers(tape, stack, placed(tape, stack, embedded, shared), shared)
    return written(tape, [tokens], _all_states(tape, stack, shared), READ, _sizes(stack))


def gist_graph(stack: Stack, placeholders: np.ndarray, start: np.ndarray) -> onnx.ModelProto:
    """`read` (see `tokens_graph`) -> `past` [layers, 2, kv_heads, positions, head_size].

    What the model remembers of the placeholders [positions - 1, width], which follow the tokens,
    after `start` [layers, 2, kv_heads, 1, head_size].
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    read = ir.val(READ, dtype=ir.DataType.FLOAT, shape=_sizes(stack))
    vectors = constant(tape, placeholders[None], "placeholders")
    first = ints(tape, "one", [1]) if stack.positions is None else None
    shared = Shared(tape, stack, vectors, read, first)
    run_layers(tape, stack, placed(tape, stack, vectors, shared), shared)
    made = _all_states(tape, stack, shared)
    past = op(tape, "Concat", constant(tape, start, "start"), made, axis=3)
    return written(tape, [read], past, PAST, _sizes(stack))


def _sizes(stack: Stack) -> tuple[int | str, ...]:
    """The shape of what is remembered."""
    attention = stack.blocks[0].attention
    return (len(stack.blocks), 2, attention.kv_heads, "positions", attention.head_size)


def _all_states(tape: ir.tape.Tape, stack: Stack, shared: Shared) -> ir.Value:
    """Keys and values of every layer, [layers, 2, kv_heads, tokens, head_size]; a batch of one."""
    attention = stack.blocks[0].attention
    # [1, tokens, kv_heads * head_size] -> [1, kv_heads, tokens, head_size]
    heads = ints(tape, "by_head", [1, -1, attention.kv_heads, attention.head_size])
    parts = [
        op(tape, "Transpose", op(tape, "Reshape", states, heads), perm=[0, 2, 1, 3])
        for layer in shared.states
        for states in layer
    ]
    sizes = [len(stack.blocks), 2, attention.kv_heads, -1, attention.head_size]
    return op(tape, "Reshape", op(tape, "Concat", *parts, axis=0), ints(tape, "by_layer", sizes))
