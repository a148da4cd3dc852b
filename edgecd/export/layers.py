"""The layers of a model, node by node: attention, MLP, norms, and what is added between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecd.errors import InputError
from edgecd.export.shared import Shared
from edgecd.export.stack import Attention, Linear, Mlp, Norm, Norms, Stack
from edgecd.export.tape import MICROSOFT, constant, ints, op

if TYPE_CHECKING:
    import onnx_ir as ir

# transformers' name -> operator, domain, attributes
_ACTIVATIONS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "relu": ("Relu", "", {}),
    "gelu": ("Gelu", "", {}),
    "gelu_new": ("Gelu", "", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", "", {"approximate": "tanh"}),
    "silu": ("QuickGelu", MICROSOFT, {"alpha": 1.0}),
}


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
