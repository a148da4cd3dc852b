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
from edgecd.export.tape import MICROSOFT, constant, input_ids, ints, op, written
from edgecd.runtime.session import HEAD, INPUTS, PAST

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from transformers import PreTrainedModel

_T = TypeVar("_T")

PAST_LENGTH = "past_length"
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
    return written(tape, inputs, logits, "logits", ("batch", columns))


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


def placed(tape: ir.tape.Tape, stack: Stack, hidden: ir.Value, shared: Shared) -> ir.Value:
    """Embeddings as the first layer takes them: widened, and with their positions."""
    if stack.project_in is not None:
        hidden = linear(tape, hidden, [stack.project_in], "project_in")
    if stack.positions is not None:
        table = constant(tape, stack.positions, "embed_positions.weight")
        # Not a Gather: ONNX Runtime would take it for BERT's embeddings, and fuse it wrongly.
        rows = op(tape, "Slice", table, *shared.span(), ints(tape, "axis_0", [0]))
        hidden = op(tape, "Add", hidden, rows)
    return hidden


def run_layers(
    tape: ir.tape.Tape,
    stack: Stack,
    hidden: ir.Value,
    shared: Shared,
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
            attended = op(tape, "GatherND", attended, last_index, batch_dims=1)
            hidden = op(tape, "GatherND", hidden, last_index, batch_dims=1)
        update = linear(tape, attended, [block.attention.out], f"{name}.o_proj")
        hidden, update = after_sublayer(tape, hidden, update, norms, f"{name}.attention")
        norms = block.mlp_norms
        normed, hidden = _add_norm(tape, hidden, update, norms.input, f"{name}.mlp_norm")
        update = feed_forward(tape, normed, block.mlp, name)
        hidden, update = after_sublayer(tape, hidden, update, norms, f"{name}.mlp")
    normed, _ = _add_norm(tape, hidden, update, stack.final_norm, "final_norm")
    if stack.project_out is not None:
        normed = linear(tape, normed, [stack.project_out], "project_out")
    return normed


def after_sublayer(
    tape: ir.tape.Tape, hidden: ir.Value, update: ir.Value, norms: Norms, name: str
) -> tuple[ir.Value, ir.Value | None]:
    """(the residual, what is still to be added to it), normalised as the family has it.

    `hidden` is what the sublayer was given, `update` what it made of it.
    """
    if norms.residual is not None:
        hidden = op(tape, "Mul", hidden, constant(tape, norms.residual, f"{name}_residual.scale"))
    if norms.output is not None:
        update = normalized(tape, update, norms.output, f"{name}_output_norm")
    if norms.total is None:
        return hidden, update
    return _add_norm(tape, hidden, update, norms.total, f"{name}_norm")[0], None


class Shared:
    """What all layers share, each part written when the first layer asks for it."""

    def __init__(
        self,
        tape: ir.tape.Tape,
        stack: Stack,
        tokens: ir.Value,
        past: ir.Value | None = None,
        first: ir.Value | None = None,
    ) -> None:
        # `tokens` [batch, sequence, ...] are ids or embeddings: only their number is read. `first`
        # [1] is the first one's position, where it is not after the past
        self._tape, self._stack, self._tokens, self._past = tape, stack, tokens, past
        self._first = first
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
            if self._first is not None:
                start = self._first
            elif self._past is None:
                start = ints(self._tape, PAST_LENGTH, [self._stack.past_length])
            else:
                start = op(self._tape, "Shape", self._past, start=3, end=4)
            length = op(self._tape, "Shape", self._tokens, start=1, end=2)
            return start, op(self._tape, "Add", length, start)

        return self._once("span", make)

    def positions(self, start: int | None = None) -> ir.Value:
        """Positions from `start` (None: where the texts start) to the texts' end, int64."""

        def make() -> ir.Value:
            tape = self._tape
            first = (
                op(tape, "Squeeze", self.span()[0])
                if start is None
                else ints(tape, f"first_{start}", start)
            )
            end = op(tape, "Squeeze", self.span()[1])
            return op(tape, "Range", first, end, ints(tape, "step", 1))

        return self._once(("positions", start), make)

    def rotary(self, rotary: Rotary) -> tuple[ir.Value, ir.Value]:
        """cos and sin, [sequence, head_size / 2]: a table would bound the text's length."""
        import onnx_ir as ir

        def make() -> tuple[ir.Value, ir.Value]:
            tape, name = self._tape, f"rotary_{len(self._made)}"
            steps = op(tape, "Cast", self.positions(), to=ir.DataType.FLOAT.value)
            column = op(tape, "Unsqueeze", steps, ints(tape, "axis_1", [1]))
            frequencies = constant(tape, rotary.frequencies[None, :], f"{name}.frequencies")
            angles = op(tape, "Mul", column, frequencies)
            tables = [op(tape, function, angles) for function in ("Cos", "Sin")]
            if rotary.scaling != 1:
                scaling = constant(tape, np.array(rotary.scaling, np.float32), f"{name}.scaling")
                tables = [op(tape, "Mul", table, scaling) for table in tables]
            return tables[0], tables[1]

        return self._once((rotary.frequencies.tobytes(), rotary.scaling), make)

    def window(self, size: int) -> ir.Value:
        """bool [sequence, prefix + sequence]: which tokens are less than `size` back."""

        def make() -> ir.Value:
            tape, axis = self._tape, ints(self._tape, "axis_1", [1])
            queries = op(tape, "Unsqueeze", self.positions(), axis)
            keys = self._key_positions()
            back = op(tape, "Sub", queries, keys)
            return op(tape, "Less", back, ints(tape, f"window_{size}", size))

        return self._once(size, make)

    def _key_positions(self) -> ir.Value:
        """Positions of what comes before the texts, and theirs, int64."""
        if self._first is None:
            return self.positions(start=0)
        if self._past is None:
            return self.positions()
        tape = self._tape
        before = op(tape, "Shape", self._past, start=3, end=4)
        first, end = op(tape, "Sub", self._first, before), self.span()[1]
        scalars = (op(tape, "Squeeze", one) for one in (first, end))
        return op(tape, "Range", *scalars, ints(tape, "step", 1))

    def past(self, number: int) -> tuple[ir.Value, ir.Value] | None:
        """Keys and values of layer `number` for what comes before the text, for every row.

        [batch, kv_heads, positions, head_size] each; None when nothing does.
        """
        tape, attention = self._tape, self._stack.blocks[number].attention
        name = f"layers.{number}"
        if self._past is not None:
            keys, values = self._once("layers", self._by_layer)[2 * number : 2 * number + 2]
            if attention.value_scale is not None:
                scale = constant(tape, attention.value_scale[None, :, None], f"{name}.value_scale")
                values = op(tape, "Mul", values, scale)
        elif attention.past is not None:
            keys = constant(tape, attention.past.keys[None], f"{name}.past_keys")
            values = constant(tape, attention.past.values[None], f"{name}.past_values")
        else:
            return None

        def make() -> ir.Value:
            batch = op(tape, "Shape", self._tokens, start=0, end=1)
            return op(tape, "Concat", batch, ints(tape, "ones_3", [1, 1, 1]), axis=0)

        rows = self._once("past shape", make)
        return op(tape, "Expand", keys, rows), op(tape, "Expand", values, rows)

    def _by_layer(self) -> Sequence[ir.Value]:
        """The input `past` in [1, kv_heads, positions, head_size]: keys, values, keys, ..."""
        tape, layers = self._tape, len(self._stack.blocks)
        first = op(tape, "Shape", self._past, start=2)
        count = ints(tape, "layer_arrays", [2 * layers])
        merged = op(tape, "Reshape", self._past, op(tape, "Concat", count, first, axis=0))
        parts: Sequence[ir.Value] = op(
            tape, "Split", merged, axis=0, num_outputs=2 * layers, outputs=2 * layers
        )
        return parts


def _attention(
    tape: ir.tape.Tape, hidden: ir.Value, attention: Attention, shared: Shared, number: int
) -> ir.Value:
    """[batch, sequence, width] -> [batch, sequence, heads * head_size]."""
    name = f"layers.{number}"
    packed = linear(tape, hidden, [attention.q, attention.k, attention.v], f"{name}.qkv_proj")
    kv_width = attention.kv_heads * attention.head_size
    widths = [attention.heads * attention.head_size, kv_width, kv_width]
    split = ints(tape, f"split_{widths[0]}_{kv_width}", widths)
    query, key, value = op(tape, "Split", packed, split, axis=-1, outputs=3)
    query = _head_norm(tape, query, attention.q_norm, attention.heads, f"{name}.q_norm")
    key = _head_norm(tape, key, attention.k_norm, attention.kv_heads, f"{name}.k_norm")
    if attention.rotary is not None:
        tables = shared.rotary(attention.rotary)
        start = ints(tape, "rotary_start", [0])  # the tables begin at the first token
        query, key = (
            op(
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
    attended = op(
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
    shape = ints(tape, f"heads_{heads}_{size}", [0, 0, heads, size])
    normed = normalized(tape, op(tape, "Reshape", states, shape), norm, name)
    return op(tape, "Reshape", normed, ints(tape, f"flat_{heads * size}", [0, 0, heads * size]))


def feed_forward(tape: ir.tape.Tape, hidden: ir.Value, mlp: Mlp, name: str) -> ir.Value:
    """Nodes of a layer's MLP; InputError for an activation that is not known."""
    if mlp.activation not in _ACTIVATIONS:
        raise InputError(
            f"the fused graph has no activation '{mlp.activation}' "
            f"(known: {', '.join(_ACTIVATIONS)}): use --exporter torch"
        )
    operator, domain, attributes = _ACTIVATIONS[mlp.activation]
    if mlp.gate is None:
        inner = linear(tape, hidden, [mlp.up], f"{name}.up_proj")
        inner = op(tape, operator, inner, domain=domain, **attributes)
    else:
        packed = linear(tape, hidden, [mlp.gate, mlp.up], f"{name}.gate_up_proj")
        gate, up = op(tape, "Split", packed, axis=-1, num_outputs=2, outputs=2)
        inner = op(tape, "Mul", op(tape, operator, gate, domain=domain, **attributes), up)
    if mlp.rotation is not None:
        inner = _rotated(tape, inner, mlp.rotation)
    return linear(tape, inner, [mlp.down], f"{name}.down_proj")


def _rotated(tape: ir.tape.Tape, states: ir.Value, rotation: np.ndarray) -> ir.Value:
    """[..., width], with each block of channels turned by `rotation` [block, block]."""
    block = rotation.shape[0]
    shape = op(tape, "Shape", states)
    blocks = op(tape, "Reshape", states, ints(tape, f"blocks_{block}", [-1, block]))
    turned = op(tape, "MatMul", blocks, constant(tape, rotation, f"block_{block}.rotation"))
    return op(tape, "Reshape", turned, shape)


def linear(tape: ir.tape.Tape, hidden: ir.Value, layers: Sequence[Linear], name: str) -> ir.Value:
    """One MatMul for layers that share their input; the weight is [in, sum of outs]."""
    packed = np.concatenate([layer.weight for layer in layers], axis=1)
    result = op(tape, "MatMul", hidden, constant(tape, packed, f"{name}.weight"))
    if all(layer.bias is None for layer in layers):
        return result
    bias = np.concatenate(
        [
            np.zeros(layer.weight.shape[1], np.float32) if layer.bias is None else layer.bias
            for layer in layers
        ]
    )
    return op(tape, "Add", result, constant(tape, bias, f"{name}.bias"))


def normalized(tape: ir.tape.Tape, hidden: ir.Value, norm: Norm, name: str) -> ir.Value:
    """A LayerNorm or RMSNorm node."""
    operator = "LayerNormalization" if norm.centered else "SimplifiedLayerNormalization"
    inputs = _norm_parameters(tape, norm, name)
    return op(tape, operator, hidden, *inputs, axis=-1, epsilon=norm.epsilon)


def _add_norm(
    tape: ir.tape.Tape, hidden: ir.Value, update: ir.Value | None, norm: Norm | None, name: str
) -> tuple[ir.Value, ir.Value]:
    """(the normalised sum, the sum); without a norm, the sum twice."""
    if update is None:
        return hidden if norm is None else normalized(tape, hidden, norm, name), hidden
    if norm is None:
        total = op(tape, "Add", update, hidden)
        return total, total
    if norm.centered:  # the CPU's SkipLayerNormalization is many times slower than its two parts
        total = op(tape, "Add", update, hidden)
        return normalized(tape, total, norm, name), total
    inputs = (update, hidden, *_norm_parameters(tape, norm, name))
    operator, options = "SkipSimplifiedLayerNormalization", {"epsilon": norm.epsilon}
    normed, _, _, total = op(tape, operator, *inputs, domain=MICROSOFT, outputs=4, **options)
    return normed, total


def _norm_parameters(tape: ir.tape.Tape, norm: Norm, name: str) -> list[ir.Value]:
    parameters = [constant(tape, norm.scale, f"{name}.weight")]
    if norm.shift is not None:
        parameters.append(constant(tape, norm.shift, f"{name}.bias"))
    return parameters
