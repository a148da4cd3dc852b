"""Rewrites a classifier's weights so that 8 bits hold its activations, with the same logits.

Two things make the inputs of linear layers hard to round, and each has its remedy, which costs
nothing (or next to nothing) when the model runs:

- a few *channels* are always large: `smooth` divides each channel by its usual size and puts the
  factor into weights, into the norm before the layer where there is one
  (SmoothQuant, https://arxiv.org/abs/2211.10438);
- inside an MLP, different channels are large for different *tokens*: `spread` mixes them in blocks
  of 64 with an orthogonal rotation, turned back inside the weights of the down projection
  (QuaRot's online Hadamard rotation, https://arxiv.org/abs/2404.00456).

The third, the first tokens of a text, is the constant prefix's business (see
`families.read_stack`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from edgecd.export.activations import LinearInput
from edgecd.export.encoder_stack import EncoderStack
from edgecd.export.stack import Array, Attention, Block, Linear, Norm, Stack

_AnyStack = TypeVar("_AnyStack", Stack, EncoderStack)

STRENGTH = 0.65  # 1: only activations matter, 0: only weights do
BLOCK = 64


def smooth(stack: Stack, inputs: Mapping[str, LinearInput]) -> Stack:
    """Even out the channels of every linear input, as far as the family allows.

    `inputs` is what `measure_activations` found for this stack's graph. Inputs that come from a
    norm, from attention, or from a gated or ReLU MLP can be scaled exactly; others stay as they
    are.
    """
    blocks = [
        smooth_block(block, layer_sizes(inputs, number))
        for number, block in enumerate(stack.blocks)
    ]
    return replace(stack, blocks=blocks)


def spread(stack: _AnyStack) -> _AnyStack:
    """Rotate the input of each down projection in blocks of up to 64 channels."""
    blocks = []
    for block in stack.blocks:
        down = block.mlp.down
        size = BLOCK
        while down.weight.shape[0] % size:
            size //= 2
        turn = _hadamard(size)
        parts = down.weight.reshape(-1, size, down.weight.shape[1])
        turned = np.einsum("ji,njo->nio", turn, parts).reshape(down.weight.shape)
        mlp = replace(block.mlp, down=Linear(turned, down.bias), rotation=turn)
        blocks.append(replace(block, mlp=mlp))
    return replace(stack, blocks=blocks)


def layer_sizes(inputs: Mapping[str, LinearInput], number: int) -> dict[str, Array]:
    """Each channel's size, by the linear layer of layer `number` that takes it."""
    start, end = f"layers.{number}.", ".weight"
    return {
        name.removeprefix(start).removesuffix(end): one.rms
        for name, one in inputs.items()
        if name.startswith(start)
    }


def smooth_block(block: Block, rms: Mapping[str, Array]) -> Block:
    """Even out the channels inside one layer; `rms` as of `layer_sizes`."""
    attention, mlp = block.attention, block.mlp
    attention_norms, mlp_norms = block.attention_norms, block.mlp_norms
    if attention_norms.input is not None:
        q, k, v = attention.q, attention.k, attention.v
        factor = channel_factors(rms["qkv_proj"], [q, k, v])
        attention_norms = replace(attention_norms, input=scaled_norm(attention_norms.input, factor))
        q, k, v = (taking(layer, factor) for layer in (q, k, v))
        attention = replace(attention, q=q, k=k, v=v)
    attention = _smooth_values(attention, rms["o_proj"])
    if mlp_norms.input is not None:
        layers = [mlp.up] if mlp.gate is None else [mlp.gate, mlp.up]
        factor = channel_factors(rms["up_proj" if mlp.gate is None else "gate_up_proj"], layers)
        mlp_norms = replace(mlp_norms, input=scaled_norm(mlp_norms.input, factor))
        gate = None if mlp.gate is None else taking(mlp.gate, factor)
        mlp = replace(mlp, gate=gate, up=taking(mlp.up, factor))
    if mlp.gate is not None or mlp.activation == "relu":
        factor = channel_factors(rms["down_proj"], [mlp.down])
        mlp = replace(mlp, up=_giving(mlp.up, factor), down=taking(mlp.down, factor))
    return Block(attention, attention_norms, mlp, mlp_norms)


def _smooth_values(attention: Attention, rms: Array) -> Attention:
    """Scale values; heads that share a value head share its factors."""
    size, shared = attention.head_size, attention.heads // attention.kv_heads
    by_group = (attention.kv_heads, shared, size)
    weights = np.abs(attention.out.weight).max(axis=1).reshape(by_group).max(axis=1)
    factor = _balance(rms.reshape(by_group).max(axis=1), weights)
    past, scale = attention.past, attention.value_scale
    return replace(
        attention,
        value_scale=np.asarray((1 if scale is None else scale) / factor, np.float32),
        v=_giving(attention.v, factor.reshape(-1)),
        out=taking(attention.out, np.repeat(factor, shared, axis=0).reshape(-1)),
        past=None if past is None else replace(past, values=past.values / factor[:, None, :]),
    )


def channel_factors(rms: Array, layers: Sequence[Linear]) -> Array:
    """What to divide each input channel of these layers by; 1 on (geometric) average."""
    weights = np.max([np.abs(layer.weight).max(axis=1) for layer in layers], axis=0)
    return _balance(rms, weights)


def _balance(activations: Array, weights: Array) -> Array:
    """What to divide each channel by; 1 on (geometric) average."""
    # A channel that was never seen alive must not be blown up.
    activations = np.maximum(activations, 1e-3 * activations.max(initial=1e-12))
    weights = np.maximum(weights, 1e-3 * weights.max(initial=1e-12))
    factor = activations**STRENGTH / weights ** (1 - STRENGTH)
    return np.asarray(factor / np.exp(np.log(factor).mean()), np.float32)


def taking(layer: Linear, factor: Array) -> Linear:
    """The layer for inputs that were divided by `factor`."""
    return Linear(layer.weight * factor[:, None], layer.bias)


def _giving(layer: Linear, factor: Array) -> Linear:
    """The layer with its outputs divided by `factor`."""
    return Linear(layer.weight / factor, None if layer.bias is None else layer.bias / factor)


def scaled_norm(norm: Norm, factor: Array) -> Norm:
    """The norm with its output divided by `factor`."""
    shift = None if norm.shift is None else norm.shift / factor
    return replace(norm, scale=norm.scale / factor, shift=shift)


def _hadamard(size: int) -> Array:
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.sqrt(2)
    return np.asarray(matrix, np.float32)
