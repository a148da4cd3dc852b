"""Writes a decoder classifier as one fused ONNX graph, straight from its weights.

Every known family is first read into one plain description (`_Stack`), then one builder writes it
with ONNX Runtime's fused operators: packed QKV, attention with rotary inside, normalisation with
the residual sum, packed gate and up. The last real token is taken right after the last attention,
so that the last MLP, the final norm and the head run for one token only.

Graph contract: `input_ids` and `attention_mask`, int64 [batch, sequence], right padded (1 = real);
`logits`, float32 [batch, labels].

Operators: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecd.errors import InputError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")
OPSET = 18
IR_VERSION = 9
MICROSOFT = "com.microsoft"
PROTOBUF_LIMIT_BYTES = 2**31 - 2**20  # a single ONNX file is one protobuf message; 1 MiB for nodes


@dataclass(frozen=True)
class _Block:
    """One decoder layer: linear layers are torch modules, packed along their outputs."""

    qkv: Sequence[Any]
    out: Any
    up: Sequence[Any]  # (up,) or (gate, up)
    down: Any
    norm_after_attention: Any
    norm_after_mlp: Any | None


@dataclass(frozen=True)
class _Stack:
    """A decoder family in common terms; modules are torch modules, None where a family has none."""

    tokens: Any
    positions: Any | None  # learned, with OPT's offset
    project_in: Any | None
    project_out: Any | None
    blocks: Sequence[_Block]
    first_norm: Any | None  # None: norms come after each sum, not before each sublayer
    activation: str
    heads: int
    kv_heads: int
    rotary: Any | None  # module with `inv_freq` and `attention_scaling`


def fused_graph(model: PreTrainedModel) -> onnx.ModelProto:
    """The fp32 graph of a `*ForSequenceClassification` model of one of `FUSED_FAMILIES`.

    Raises InputError for a family or a configuration that it cannot write exactly, and for
    weights that do not fit a single ONNX file.
    """
    import onnx_ir as ir

    family = model.config.model_type
    if family not in _READERS:
        raise InputError(
            f"no fused graph for model type '{family}' (known: {', '.join(sorted(_READERS))}): "
            "use --exporter torch"
        )
    refuse_too_large(model)
    stack = _READERS[family](model)
    tape = ir.tape.Tape()
    inputs = [ir.val(name, dtype=ir.DataType.INT64, shape=("batch", "sequence")) for name in INPUTS]
    hidden = _decoder(tape, stack, *inputs)
    logits = _linear(tape, hidden, [_module(model, "score")], "score")
    logits.name, logits.dtype = "logits", ir.DataType.FLOAT
    logits.shape = ir.Shape(["batch", model.config.num_labels])
    graph = ir.Graph(
        inputs=inputs,
        outputs=[logits],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports={"": OPSET, MICROSOFT: 1},
        name=family,
    )
    return ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, producer_name="edgecd"))


def refuse_too_large(model: PreTrainedModel) -> None:
    """Raise InputError when the model's fp32 weights exceed what one ONNX file can hold."""
    size_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    if size_bytes > PROTOBUF_LIMIT_BYTES:
        raise InputError(
            f"{type(model).__name__} has {size_bytes / 1e9:.1f} GB of fp32 weights, and a "
            "self-contained ONNX file holds 2.1 GB at most: choose a smaller student"
        )


# Families: from torch modules to a _Stack


def _read_opt(model: PreTrainedModel) -> _Stack:
    config, decoder = model.config, _module(model, "model.decoder")
    pre_norm = config.do_layer_norm_before
    layers = list(decoder.layers)
    following = [layer.self_attn_layer_norm for layer in layers[1:]] + [decoder.final_layer_norm]
    blocks = [
        _Block(
            qkv=(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            out=layer.self_attn.out_proj,
            up=(layer.fc1,),
            down=layer.fc2,
            norm_after_attention=layer.final_layer_norm if pre_norm else layer.self_attn_layer_norm,
            norm_after_mlp=next_norm if pre_norm else layer.final_layer_norm,
        )
        for layer, next_norm in zip(layers, following, strict=True)
    ]
    return _Stack(
        tokens=decoder.embed_tokens,
        positions=decoder.embed_positions,
        project_in=decoder.project_in,
        project_out=decoder.project_out,
        blocks=blocks,
        first_norm=layers[0].self_attn_layer_norm if pre_norm else None,
        activation=_known_activation(config.activation_function),
        heads=config.num_attention_heads,
        kv_heads=config.num_attention_heads,
        rotary=None,
    )


def _read_llama(model: PreTrainedModel) -> _Stack:
    """Llama, and Qwen2, which adds biases to q, k and v."""
    config, body = model.config, _module(model, "model")
    rope_type = getattr(body.rotary_emb, "rope_type", "default")
    if rope_type not in ("default", "linear", "llama3", "yarn"):
        raise InputError(
            f"rope type '{rope_type}' changes with the length of the text, which the fused graph "
            "does not do: use --exporter torch"
        )
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise InputError(
            "the fused graph has no sliding window attention: use --exporter torch, or set "
            "use_sliding_window to false when texts are shorter than the window"
        )
    layers = list(body.layers)
    following = [layer.input_layernorm for layer in layers[1:]] + [body.norm]
    blocks = [
        _Block(
            qkv=(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
            out=layer.self_attn.o_proj,
            up=(layer.mlp.gate_proj, layer.mlp.up_proj),
            down=layer.mlp.down_proj,
            norm_after_attention=layer.post_attention_layernorm,
            norm_after_mlp=next_norm,
        )
        for layer, next_norm in zip(layers, following, strict=True)
    ]
    return _Stack(
        tokens=body.embed_tokens,
        positions=None,
        project_in=None,
        project_out=None,
        blocks=blocks,
        first_norm=layers[0].input_layernorm,
        activation=_known_activation(config.hidden_act),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        rotary=body.rotary_emb,
    )


_READERS: dict[str, Callable[[Any], _Stack]] = {
    "opt": _read_opt,
    "llama": _read_llama,
    "qwen2": _read_llama,
}
FUSED_FAMILIES: frozenset[str] = frozenset(_READERS)

# Hugging Face's name -> operator, domain, attributes
_ACTIVATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "relu": ("Relu", "", {}),
    "gelu": ("Gelu", MICROSOFT, {}),
    "silu": ("QuickGelu", MICROSOFT, {"alpha": 1.0}),
}


def _known_activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        raise InputError(
            f"the fused graph has no activation '{name}' (known: {', '.join(_ACTIVATIONS)}): "
            "use --exporter torch"
        )
    return name


def _module(model: PreTrainedModel, path: str) -> Any:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise InputError(
            f"{type(model).__name__} has no '{path}': a *ForSequenceClassification model with a "
            "linear 'score' layer is needed"
        ) from None


# The builder


def _decoder(
    tape: ir.tape.Tape, stack: _Stack, input_ids: ir.Value, attention_mask: ir.Value
) -> ir.Value:
    """Nodes from the inputs to the last real token's final state, [batch, width]."""
    lengths = _op(tape, "ReduceSum", attention_mask, _ints(tape, "axis_1", [1]), keepdims=0)
    last = _op(tape, "Sub", lengths, _ints(tape, "one", [1]))
    last_index = _op(tape, "Unsqueeze", last, _ints(tape, "axis_1", [1]))
    attention_inputs = _attention_inputs(tape, stack, input_ids, last)

    hidden = _op(tape, "Gather", _weight(tape, stack.tokens, "embed_tokens"), input_ids)
    if stack.project_in is not None:
        hidden = _linear(tape, hidden, [stack.project_in], "project_in")
    if stack.positions is not None:
        table = _weight(tape, stack.positions, "embed_positions")
        positions = _op(tape, "CumSum", attention_mask, _ints(tape, "axis", 1))
        positions = _op(tape, "Mul", positions, attention_mask)
        # Counted from 1 here and from 0 in the model, whose table begins with 2 unused rows.
        positions = _op(tape, "Add", positions, _ints(tape, "offset", [stack.positions.offset - 1]))
        hidden = _op(tape, "Add", hidden, _op(tape, "Gather", table, positions))

    pre_norm = stack.first_norm is not None
    normed = _norm(tape, hidden, stack.first_norm, "first_norm") if pre_norm else hidden
    for number, block in enumerate(stack.blocks):
        name = f"layers.{number}"
        qkv = _linear(tape, normed, block.qkv, f"{name}.qkv_proj")
        attended = _op(
            tape,
            "GroupQueryAttention",
            *(qkv, None, None, None, None, *attention_inputs),
            domain=MICROSOFT,
            num_heads=stack.heads,
            kv_num_heads=stack.kv_heads,
            do_rotary=int(stack.rotary is not None),
            outputs=3,
        )[0]
        if number == len(stack.blocks) - 1:  # nothing after this mixes tokens
            attended = _op(tape, "GatherND", attended, last_index, batch_dims=1)
            hidden = _op(tape, "GatherND", hidden, last_index, batch_dims=1)
        update = _linear(tape, attended, [block.out], f"{name}.o_proj")
        after_attention = block.norm_after_attention
        normed, total = _add_norm(tape, update, hidden, after_attention, f"{name}.attention_norm")
        hidden = total if pre_norm else normed
        update = _mlp(tape, normed, block, stack.activation, name)
        normed, total = _add_norm(tape, update, hidden, block.norm_after_mlp, f"{name}.mlp_norm")
        hidden = total if pre_norm else normed
    if stack.project_out is not None:
        normed = _linear(tape, normed, [stack.project_out], "project_out")
    return normed


def _attention_inputs(
    tape: ir.tape.Tape, stack: _Stack, input_ids: ir.Value, last: ir.Value
) -> list[ir.Value]:
    """What every attention shares: last key index, padded length and, with rotary, cos and sin."""
    import onnx_ir as ir

    length = _op(tape, "Shape", input_ids, start=1, end=2)
    int32 = ir.DataType.INT32.value
    shared = [_op(tape, "Cast", value, to=int32) for value in (last, length)]
    if stack.rotary is None:
        return shared
    # A table would cost max_position_embeddings rows in the file, and bound the text's length.
    steps = _op(
        tape,
        "Range",
        *(_ints(tape, "zero", 0), _op(tape, "Squeeze", length), _ints(tape, "step", 1)),
    )
    steps = _op(tape, "Cast", steps, to=ir.DataType.FLOAT.value)
    column = _op(tape, "Unsqueeze", steps, _ints(tape, "axis_1", [1]))
    frequencies = _constant(tape, _array(stack.rotary.inv_freq)[None, :], "rotary.frequencies")
    angles = _op(tape, "Mul", column, frequencies)
    scaling = np.array(stack.rotary.attention_scaling, dtype=np.float32)
    for function in ("Cos", "Sin"):
        table = _op(tape, function, angles)
        if scaling != 1:
            table = _op(tape, "Mul", table, _constant(tape, scaling, "rotary.scaling"))
        shared.append(table)
    return shared


def _mlp(
    tape: ir.tape.Tape, hidden: ir.Value, block: _Block, activation: str, name: str
) -> ir.Value:
    operator, domain, attributes = _ACTIVATIONS[activation]
    gated = len(block.up) == 2
    inner = _linear(tape, hidden, block.up, f"{name}.{'gate_up_proj' if gated else 'up_proj'}")
    if gated:
        gate, up = _op(tape, "Split", inner, axis=-1, num_outputs=2, outputs=2)
        gate = _op(tape, operator, gate, domain=domain, **attributes)
        inner = _op(tape, "Mul", gate, up)
    else:
        inner = _op(tape, operator, inner, domain=domain, **attributes)
    return _linear(tape, inner, [block.down], f"{name}.down_proj")


def _linear(tape: ir.tape.Tape, hidden: ir.Value, layers: Sequence[Any], name: str) -> ir.Value:
    """One MatMul for layers that share their input; the weight is [in, sum of outs]."""
    import torch

    for layer in layers:
        if not isinstance(layer, torch.nn.Linear) or not layer.weight.is_floating_point():
            raise InputError(
                f"{name} is a {type(layer).__name__}, not a plain linear layer: merge the adapter "
                "(or load the model unquantized) before exporting"
            )
    packed = np.concatenate([_array(layer.weight).T for layer in layers], axis=1)
    result = _op(tape, "MatMul", hidden, _constant(tape, packed, f"{name}.weight"))
    if layers[0].bias is None:
        return result
    bias = np.concatenate([_array(layer.bias) for layer in layers])
    return _op(tape, "Add", result, _constant(tape, bias, f"{name}.bias"))


def _norm_parameters(norm: Any) -> tuple[bool, np.ndarray, np.ndarray | None, float]:
    """(root mean square only, scale, shift or None, epsilon) of a LayerNorm or an RMSNorm."""
    import torch

    if not isinstance(norm, torch.nn.LayerNorm):
        return True, _array(norm.weight), None, norm.variance_epsilon
    if norm.weight is None:
        size = norm.normalized_shape
        return False, np.ones(size, np.float32), np.zeros(size, np.float32), norm.eps
    return False, _array(norm.weight), _array(norm.bias), norm.eps


def _norm(tape: ir.tape.Tape, hidden: ir.Value, norm: Any, name: str) -> ir.Value:
    simplified, scale, shift, epsilon = _norm_parameters(norm)
    inputs = [hidden, _constant(tape, scale, f"{name}.weight")]
    if shift is not None:
        inputs.append(_constant(tape, shift, f"{name}.bias"))
    operator = "SimplifiedLayerNormalization" if simplified else "LayerNormalization"
    return _op(tape, operator, *inputs, axis=-1, epsilon=epsilon)


def _add_norm(
    tape: ir.tape.Tape, update: ir.Value, hidden: ir.Value, norm: Any | None, name: str
) -> tuple[ir.Value, ir.Value]:
    """(the normalised sum, the sum); without a norm, the sum twice."""
    if norm is None:
        total = _op(tape, "Add", update, hidden)
        return total, total
    simplified, scale, shift, epsilon = _norm_parameters(norm)
    inputs = [update, hidden, _constant(tape, scale, f"{name}.weight")]
    if shift is not None:
        inputs.append(_constant(tape, shift, f"{name}.bias"))
    operator = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    normed, _, _, total = _op(tape, operator, *inputs, domain=MICROSOFT, epsilon=epsilon, outputs=4)
    return normed, total


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


def _array(tensor: Any) -> np.ndarray:
    import torch

    array: np.ndarray = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _weight(tape: ir.tape.Tape, embedding: Any, name: str) -> ir.Value:
    return _constant(tape, _array(embedding.weight), f"{name}.weight")


def _ints(tape: ir.tape.Tape, name: str, value: int | list[int]) -> ir.Value:
    return _constant(tape, np.array(value, dtype=np.int64), name)


def _constant(tape: ir.tape.Tape, array: np.ndarray, name: str) -> ir.Value:
    """The initializer of that name, made on first use."""
    import onnx_ir as ir

    for value in tape.initializers:
        if value.name == name:
            return value
    return tape.initializer(ir.tensor(np.ascontiguousarray(array)), name)
