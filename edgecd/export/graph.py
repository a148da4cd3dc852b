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

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgecd.errors import InputError
from edgecd.export.stack import (
    Attention,
    Linear,
    Mlp,
    Norm,
    Norms,
    Past,
    Rotary,
    Stack,
    read_stack,
)
from edgecd.runtime.session import HEAD, INPUTS, PAST

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from transformers import PreTrainedModel

_T = TypeVar("_T")

OPSET = 23  # the first with Attention
IR_VERSION = 10
MICROSOFT = "com.microsoft"
PAST_LENGTH = "past_length"
VECTORS = "vectors"
PROTOBUF_LIMIT_BYTES = 2**31 - 2**20  # a single ONNX file is one protobuf message; 1 MiB for nodes

# transformers' name -> operator, domain, attributes
_ACTIVATIONS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "relu": ("Relu", "", {}),
    "gelu": ("Gelu", "", {}),
    "gelu_new": ("Gelu", "", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", "", {"approximate": "tanh"}),
    "silu": ("QuickGelu", MICROSOFT, {"alpha": 1.0}),
}


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
    inputs = [_input_ids(name) for name in INPUTS]
    if is_open:
        past, head = _open_inputs(stack)
        shared = _Shared(tape, stack, inputs[0], past)
        hidden = _decoder(tape, stack, inputs[0], inputs[1], shared)
        logits = _op(tape, "MatMul", hidden, _op(tape, "Transpose", head, perm=[1, 0]))
        inputs += [past, head]
        columns: int | str = "labels"
    else:
        tokens, mask = (_after_prefix(tape, stack, value) for value in inputs)
        hidden = _decoder(tape, stack, tokens, mask, _Shared(tape, stack, tokens))
        logits = _linear(tape, hidden, [stack.head], "score")
        columns = stack.head.weight.shape[1]
    return _written(tape, inputs, logits, "logits", ("batch", columns))


def reader_graph(
    stack: Stack, placeholders: np.ndarray, project: Linear | None, gain: float
) -> onnx.ModelProto:
    """A distiller's reader: `input_ids` [1, sequence] -> `vectors` [1, positions, width].

    The states at the placeholders [positions, reader's width], which follow the tokens, through
    `project` and tanh where there is one, times `gain`.
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    tokens, count = _input_ids(INPUTS[0]), placeholders.shape[0]
    embedded = _op(tape, "Gather", _constant(tape, stack.tokens, "embed_tokens.weight"), tokens)
    after = _constant(tape, placeholders[None], "placeholders")
    read = _op(tape, "Concat", embedded, after, axis=1)
    shared = _Shared(tape, stack, read)
    states = _layers(tape, stack, _placed(tape, stack, read, shared), shared)
    end = _ints(tape, "end", [np.iinfo(np.int64).max])
    start, axis = _ints(tape, "first_placeholder", [-count]), _ints(tape, "axis_1", [1])
    vectors = _op(tape, "Slice", states, start, end, axis)
    if project is not None:
        vectors = _op(tape, "Tanh", _linear(tape, vectors, [project], "project"))
    vectors = _op(tape, "Mul", vectors, _constant(tape, np.array(gain, np.float32), "gain"))
    return _written(tape, [tokens], vectors, VECTORS, (1, count, "width"))


def vectors_graph(stack: Stack) -> onnx.ModelProto:
    """What a language model remembers of vectors in place of embeddings.

    `vectors` [1, positions, width] -> `past` [layers, 2, kv_heads, positions, head_size].
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    attention = stack.blocks[0].attention
    width = stack.tokens.shape[1]
    vectors = ir.val(VECTORS, dtype=ir.DataType.FLOAT, shape=(1, "positions", width))
    shared = _Shared(tape, stack, vectors)
    _layers(tape, stack, _placed(tape, stack, vectors, shared), shared)
    # [1, positions, kv_heads * head_size] -> [1, kv_heads, positions, head_size]
    heads = _ints(tape, "by_head", [1, -1, attention.kv_heads, attention.head_size])
    parts = [
        _op(tape, "Transpose", _op(tape, "Reshape", states, heads), perm=[0, 2, 1, 3])
        for layer in shared.states
        for states in layer
    ]
    layers = len(stack.blocks)
    shape = _ints(tape, "by_layer", [layers, 2, attention.kv_heads, -1, attention.head_size])
    past = _op(tape, "Reshape", _op(tape, "Concat", *parts, axis=0), shape)
    sizes = (layers, 2, attention.kv_heads, "positions", attention.head_size)
    return _written(tape, [vectors], past, PAST, sizes)


def prefix_graph(change: np.ndarray, base: np.ndarray) -> onnx.ModelProto:
    """A hypernetwork's end: `vectors` [1, positions, width] -> `past`, as of `vectors_graph`.

    `change` [width, layers * 2 * kv_heads * head_size] is added to `base`, of the past's shape.
    """
    import onnx_ir as ir

    tape = ir.tape.Tape()
    layers, two, heads, positions, size = base.shape
    vectors = ir.val(VECTORS, dtype=ir.DataType.FLOAT, shape=(1, positions, change.shape[0]))
    flat = _linear(tape, vectors, [Linear(change)], "change")
    shape = _ints(tape, "by_position", [positions, layers, two, heads, size])
    moved = _op(tape, "Transpose", _op(tape, "Reshape", flat, shape), perm=[1, 2, 3, 0, 4])
    past = _op(tape, "Add", moved, _constant(tape, base, "base"))
    return _written(tape, [vectors], past, PAST, base.shape)


def _input_ids(name: str) -> ir.Value:
    import onnx_ir as ir

    return ir.val(name, dtype=ir.DataType.INT64, shape=("batch", "sequence"))


def _written(
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
    written = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, producer_name="edgecd"))
    for value in tape.initializers:  # nodes and values refer to each other, and would keep them
        value.const_value = None
    return written


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
    start = _ints(tape, PAST_LENGTH, [stack.past_length])
    end = _ints(tape, "end", [np.iinfo(np.int64).max])
    return _op(tape, "Slice", tokens, start, end, _ints(tape, "axis_1", [1]))


def _decoder(
    tape: ir.tape.Tape,
    stack: Stack,
    input_ids: ir.Value,
    attention_mask: ir.Value,
    shared: _Shared,
) -> ir.Value:
    """Nodes from tokens after the prefix to the last real one's final state, [batch, width]."""
    lengths = _op(tape, "ReduceSum", attention_mask, _ints(tape, "axis_1", [1]), keepdims=0)
    last = _op(tape, "Sub", lengths, _ints(tape, "one", [1]))
    last_index = _op(tape, "Unsqueeze", last, _ints(tape, "axis_1", [1]))
    hidden = _op(tape, "Gather", _constant(tape, stack.tokens, "embed_tokens.weight"), input_ids)
    return _layers(tape, stack, _placed(tape, stack, hidden, shared), shared, last_index)


def _placed(tape: ir.tape.Tape, stack: Stack, hidden: ir.Value, shared: _Shared) -> ir.Value:
    """Embeddings as the first layer takes them: widened, and with their positions."""
    if stack.project_in is not None:
        hidden = _linear(tape, hidden, [stack.project_in], "project_in")
    if stack.positions is not None:
        table = _constant(tape, stack.positions, "embed_positions.weight")
        # Not a Gather: ONNX Runtime would take it for BERT's embeddings, and fuse it wrongly.
        rows = _op(tape, "Slice", table, *shared.span(), _ints(tape, "axis_0", [0]))
        hidden = _op(tape, "Add", hidden, rows)
    return hidden


def _layers(
    tape: ir.tape.Tape,
    stack: Stack,
    hidden: ir.Value,
    shared: _Shared,
    last_index: ir.Value | None = None,
) -> ir.Value:
    """Nodes through all layers and the final norm, for every token or the one at `last_index`."""
    update: ir.Value | None = None  # what is still to be added to `hidden`
    for number, block in enumerate(stack.blocks):
        name = f"layers.{number}"
        norms = block.attention_norms
        normed, hidden = _add_norm(tape, hidden, update, norms.input, f"{name}.attention_norm")
        attended = _attention(tape, normed, block.attention, shared, number)
        if last_index is not None and number == len(stack.blocks) - 1:
            # nothing after this mixes tokens
            attended = _op(tape, "GatherND", attended, last_index, batch_dims=1)
            hidden = _op(tape, "GatherND", hidden, last_index, batch_dims=1)
        update = _linear(tape, attended, [block.attention.out], f"{name}.o_proj")
        hidden, update = _after_sublayer(tape, hidden, update, norms, f"{name}.attention")
        norms = block.mlp_norms
        normed, hidden = _add_norm(tape, hidden, update, norms.input, f"{name}.mlp_norm")
        update = _mlp(tape, normed, block.mlp, name)
        hidden, update = _after_sublayer(tape, hidden, update, norms, f"{name}.mlp")
    normed, _ = _add_norm(tape, hidden, update, stack.final_norm, "final_norm")
    if stack.project_out is not None:
        normed = _linear(tape, normed, [stack.project_out], "project_out")
    return normed


def _after_sublayer(
    tape: ir.tape.Tape, hidden: ir.Value, update: ir.Value, norms: Norms, name: str
) -> tuple[ir.Value, ir.Value | None]:
    """(the residual, what is still to be added to it), normalised as the family has it."""
    if norms.output is not None:
        update = _norm(tape, update, norms.output, f"{name}_output_norm")
    if norms.total is None:
        return hidden, update
    return _add_norm(tape, hidden, update, norms.total, f"{name}_norm")[0], None


class _Shared:
    """What all layers share, each part written when the first layer asks for it."""

    def __init__(
        self,
        tape: ir.tape.Tape,
        stack: Stack,
        tokens: ir.Value,
        past: ir.Value | None = None,
    ) -> None:
        # `tokens` [batch, sequence, ...] are ids or embeddings: only their number is read
        self._tape, self._stack, self._tokens, self._past = tape, stack, tokens, past
        self._made: dict[Any, Any] = {}
        self.states: list[tuple[ir.Value, ir.Value]] = []  # each layer's keys and values

    def _once(self, key: Any, make: Callable[[], _T]) -> _T:
        if key not in self._made:
            self._made[key] = make()
        made: _T = self._made[key]
        return made

    def span(self) -> tuple[ir.Value, ir.Value]:
        """The texts' first position and the one after their last, int64 [1]: after the prefix."""

        def make() -> tuple[ir.Value, ir.Value]:
            if self._past is None:
                start = _ints(self._tape, PAST_LENGTH, [self._stack.past_length])
            else:
                start = _op(self._tape, "Shape", self._past, start=3, end=4)
            length = _op(self._tape, "Shape", self._tokens, start=1, end=2)
            return start, _op(self._tape, "Add", length, start)

        return self._once("span", make)

    def positions(self, start: int | None = None) -> ir.Value:
        """Positions from `start` (None: where the texts start) to the texts' end, int64."""

        def make() -> ir.Value:
            tape = self._tape
            first = (
                _op(tape, "Squeeze", self.span()[0])
                if start is None
                else _ints(tape, f"first_{start}", start)
            )
            end = _op(tape, "Squeeze", self.span()[1])
            return _op(tape, "Range", first, end, _ints(tape, "step", 1))

        return self._once(("positions", start), make)

    def rotary(self, rotary: Rotary) -> tuple[ir.Value, ir.Value]:
        """cos and sin, [sequence, head_size / 2]: a table would bound the text's length."""
        import onnx_ir as ir

        def make() -> tuple[ir.Value, ir.Value]:
            tape, name = self._tape, f"rotary_{len(self._made)}"
            steps = _op(tape, "Cast", self.positions(), to=ir.DataType.FLOAT.value)
            column = _op(tape, "Unsqueeze", steps, _ints(tape, "axis_1", [1]))
            frequencies = _constant(tape, rotary.frequencies[None, :], f"{name}.frequencies")
            angles = _op(tape, "Mul", column, frequencies)
            tables = [_op(tape, function, angles) for function in ("Cos", "Sin")]
            if rotary.scaling != 1:
                scaling = _constant(tape, np.array(rotary.scaling, np.float32), f"{name}.scaling")
                tables = [_op(tape, "Mul", table, scaling) for table in tables]
            return tables[0], tables[1]

        return self._once((rotary.frequencies.tobytes(), rotary.scaling), make)

    def window(self, size: int) -> ir.Value:
        """bool [sequence, prefix + sequence]: which tokens are less than `size` back."""

        def make() -> ir.Value:
            tape, axis = self._tape, _ints(self._tape, "axis_1", [1])
            queries = _op(tape, "Unsqueeze", self.positions(), axis)
            back = _op(tape, "Sub", queries, self.positions(start=0))
            return _op(tape, "Less", back, _ints(tape, f"window_{size}", size))

        return self._once(size, make)

    def past(self, number: int) -> tuple[ir.Value, ir.Value] | None:
        """Keys and values of layer `number` for what comes before the text, for every row.

        [batch, kv_heads, positions, head_size] each; None when nothing does.
        """
        tape, attention = self._tape, self._stack.blocks[number].attention
        name = f"layers.{number}"
        if self._past is not None:
            keys, values = self._once("layers", self._by_layer)[2 * number : 2 * number + 2]
            if attention.value_scale is not None:
                scale = _constant(tape, attention.value_scale[None, :, None], f"{name}.value_scale")
                values = _op(tape, "Mul", values, scale)
        elif attention.past is not None:
            keys = _constant(tape, attention.past.keys[None], f"{name}.past_keys")
            values = _constant(tape, attention.past.values[None], f"{name}.past_values")
        else:
            return None

        def make() -> ir.Value:
            batch = _op(tape, "Shape", self._tokens, start=0, end=1)
            return _op(tape, "Concat", batch, _ints(tape, "ones_3", [1, 1, 1]), axis=0)

        rows = self._once("past shape", make)
        return _op(tape, "Expand", keys, rows), _op(tape, "Expand", values, rows)

    def _by_layer(self) -> Sequence[ir.Value]:
        """The input `past` in [1, kv_heads, positions, head_size]: keys, values, keys, ..."""
        tape, layers = self._tape, len(self._stack.blocks)
        first = _op(tape, "Shape", self._past, start=2)
        count = _ints(tape, "layer_arrays", [2 * layers])
        merged = _op(tape, "Reshape", self._past, _op(tape, "Concat", count, first, axis=0))
        parts: Sequence[ir.Value] = _op(
            tape, "Split", merged, axis=0, num_outputs=2 * layers, outputs=2 * layers
        )
        return parts


def _attention(
    tape: ir.tape.Tape, hidden: ir.Value, attention: Attention, shared: _Shared, number: int
) -> ir.Value:
    """[batch, sequence, width] -> [batch, sequence, heads * head_size]."""
    name = f"layers.{number}"
    packed = _linear(tape, hidden, [attention.q, attention.k, attention.v], f"{name}.qkv_proj")
    kv_width = attention.kv_heads * attention.head_size
    widths = [attention.heads * attention.head_size, kv_width, kv_width]
    split = _ints(tape, f"split_{widths[0]}_{kv_width}", widths)
    query, key, value = _op(tape, "Split", packed, split, axis=-1, outputs=3)
    query = _head_norm(tape, query, attention.q_norm, attention.heads, f"{name}.q_norm")
    key = _head_norm(tape, key, attention.k_norm, attention.kv_heads, f"{name}.k_norm")
    if attention.rotary is not None:
        tables = shared.rotary(attention.rotary)
        start = _ints(tape, "rotary_start", [0])  # the tables begin at the first token
        query, key = (
            _op(
                tape,
                "RotaryEmbedding",
                *(states, start, *tables),
                domain=MICROSOFT,
                num_heads=heads,
            )
            for states, heads in ((query, attention.heads), (key, attention.kv_heads))
        )
    shared.states.append((key, value))
    mask = None if attention.window is None else shared.window(attention.window)
    past = shared.past(number)
    inputs = [query, key, value, mask, *(past or ())]
    attended = _op(
        tape,
        "Attention",
        *inputs,
        is_causal=1,
        q_num_heads=attention.heads,
        kv_num_heads=attention.kv_heads,
        scale=float(attention.scale),
        outputs=1 if past is None else 3,
    )
    return attended if past is None else attended[0]


def _head_norm(
    tape: ir.tape.Tape, states: ir.Value, norm: Norm | None, heads: int, name: str
) -> ir.Value:
    if norm is None:
        return states
    size = norm.scale.shape[0]
    shape = _ints(tape, f"heads_{heads}_{size}", [0, 0, heads, size])
    normed = _norm(tape, _op(tape, "Reshape", states, shape), norm, name)
    return _op(tape, "Reshape", normed, _ints(tape, f"flat_{heads * size}", [0, 0, heads * size]))


def _mlp(tape: ir.tape.Tape, hidden: ir.Value, mlp: Mlp, name: str) -> ir.Value:
    if mlp.activation not in _ACTIVATIONS:
        raise InputError(
            f"the fused graph has no activation '{mlp.activation}' "
            f"(known: {', '.join(_ACTIVATIONS)}): use --exporter torch"
        )
    operator, domain, attributes = _ACTIVATIONS[mlp.activation]
    if mlp.gate is None:
        inner = _linear(tape, hidden, [mlp.up], f"{name}.up_proj")
        inner = _op(tape, operator, inner, domain=domain, **attributes)
    else:
        packed = _linear(tape, hidden, [mlp.gate, mlp.up], f"{name}.gate_up_proj")
        gate, up = _op(tape, "Split", packed, axis=-1, num_outputs=2, outputs=2)
        inner = _op(tape, "Mul", _op(tape, operator, gate, domain=domain, **attributes), up)
    if mlp.rotation is not None:
        inner = _rotated(tape, inner, mlp.rotation)
    return _linear(tape, inner, [mlp.down], f"{name}.down_proj")


def _rotated(tape: ir.tape.Tape, states: ir.Value, rotation: np.ndarray) -> ir.Value:
    """[..., width], with each block of channels turned by `rotation` [block, block]."""
    block = rotation.shape[0]
    shape = _op(tape, "Shape", states)
    blocks = _op(tape, "Reshape", states, _ints(tape, f"blocks_{block}", [-1, block]))
    turned = _op(tape, "MatMul", blocks, _constant(tape, rotation, f"block_{block}.rotation"))
    return _op(tape, "Reshape", turned, shape)


def _linear(tape: ir.tape.Tape, hidden: ir.Value, layers: Sequence[Linear], name: str) -> ir.Value:
    """One MatMul for layers that share their input; the weight is [in, sum of outs]."""
    packed = np.concatenate([layer.weight for layer in layers], axis=1)
    result = _op(tape, "MatMul", hidden, _constant(tape, packed, f"{name}.weight"))
    if all(layer.bias is None for layer in layers):
        return result
    bias = np.concatenate(
        [
            np.zeros(layer.weight.shape[1], np.float32) if layer.bias is None else layer.bias
            for layer in layers
        ]
    )
    return _op(tape, "Add", result, _constant(tape, bias, f"{name}.bias"))


def _norm(tape: ir.tape.Tape, hidden: ir.Value, norm: Norm, name: str) -> ir.Value:
    operator = "LayerNormalization" if norm.centered else "SimplifiedLayerNormalization"
    inputs = _norm_parameters(tape, norm, name)
    return _op(tape, operator, hidden, *inputs, axis=-1, epsilon=norm.epsilon)


def _add_norm(
    tape: ir.tape.Tape, hidden: ir.Value, update: ir.Value | None, norm: Norm | None, name: str
) -> tuple[ir.Value, ir.Value]:
    """(the normalised sum, the sum); without a norm, the sum twice."""
    if update is None:
        return hidden if norm is None else _norm(tape, hidden, norm, name), hidden
    if norm is None:
        total = _op(tape, "Add", update, hidden)
        return total, total
    if norm.centered:  # the CPU's SkipLayerNormalization is many times slower than its two parts
        total = _op(tape, "Add", update, hidden)
        return _norm(tape, total, norm, name), total
    inputs = (update, hidden, *_norm_parameters(tape, norm, name))
    operator, options = "SkipSimplifiedLayerNormalization", {"epsilon": norm.epsilon}
    normed, _, _, total = _op(tape, operator, *inputs, domain=MICROSOFT, outputs=4, **options)
    return normed, total


def _norm_parameters(tape: ir.tape.Tape, norm: Norm, name: str) -> list[ir.Value]:
    parameters = [_constant(tape, norm.scale, f"{name}.weight")]
    if norm.shift is not None:
        parameters.append(_constant(tape, norm.shift, f"{name}.bias"))
    return parameters


def _op(
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


def _ints(tape: ir.tape.Tape, name: str, value: int | list[int]) -> ir.Value:
    return _constant(tape, np.array(value, dtype=np.int64), name)


def _constant(tape: ir.tape.Tape, array: np.ndarray, name: str) -> ir.Value:
    """The initializer of that name, made on first use."""
    import onnx_ir as ir

    for value in tape.initializers:
        if value.name == name:
            return value
    return tape.initializer(ir.tensor(np.ascontiguousarray(array)), name)
