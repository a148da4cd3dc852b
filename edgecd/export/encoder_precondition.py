"""Rewrites an encoder's weights so that 8 bits hold its activations, with the same logits.

As `precondition.smooth` does for decoders; but an encoder's norms feed the residual as well as the
next linear layer, so that the residual is multiplied by what the norm was divided by
(Outlier Suppression, https://arxiv.org/abs/2209.13325).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgecd.export.activations import LinearInput
from edgecd.export.encoder_stack import EncoderStack
from edgecd.export.precondition import (
    channel_factors,
    layer_sizes,
    scaled_norm,
    smooth_block,
    taking,
)
from edgecd.export.stack import Array, Block, Linear, Norm, Norms


def smooth_encoder(stack: EncoderStack, statistics: Mapping[str, LinearInput]) -> EncoderStack:
    """Even out the channels of every linear input that comes from a norm, attention or a ReLU.

    `statistics` is what `measure_activations` found for this stack's graph. The input of a GELU
    MLP's second layer stays as it is.
    """
    last = len(stack.blocks) - 1
    norm, norms, blocks = stack.embedding_norm, [], []  # `norm` gives the next layers their input
    for number, block in enumerate(stack.blocks):
        sizes = layer_sizes(statistics, number)
        block = smooth_block(block, sizes)
        attention, mlp = block.attention, block.mlp
        projections = [attention.q, attention.k, attention.v]
        taken = sizes["kv_proj" if number == last else "qkv_proj"]
        norm, (q, k, v), at_attention = _smooth_norm(norm, projections, taken)
        norms.append(norm)
        norm, (up,), at_mlp = _smooth_norm(
            _total(block.attention_norms), [mlp.up], sizes["up_proj"]
        )
        norms.append(norm)
        norm = _total(block.mlp_norms)
        blocks.append(
            Block(
                replace(attention, q=q, k=k, v=v),
                _multiplied(block.attention_norms, at_attention),
                replace(mlp, up=up),
                _multiplied(block.mlp_norms, at_mlp),
            )
        )
    norm, (pooler,), _ = _smooth_norm(norm, [stack.pooler], statistics["pooler.weight"].rms)
    norms.append(norm)
    blocks = [
        replace(
            block,
            attention_norms=replace(block.attention_norms, total=after_attention),
            mlp_norms=replace(block.mlp_norms, total=after_mlp),
        )
        for block, after_attention, after_mlp in zip(blocks, norms[1::2], norms[2::2], strict=True)
    ]
    return replace(stack, embedding_norm=norms[0], blocks=blocks, pooler=pooler)


def _smooth_norm(
    norm: Norm, layers: Sequence[Linear], rms: Array
) -> tuple[Norm, list[Linear], Array]:
    """(the norm, the layers that take its output, what gives the output its old size)."""
    factor = channel_factors(rms, layers)
    return scaled_norm(norm, factor), [taking(layer, factor) for layer in layers], factor


def _total(norms: Norms) -> Norm:
    assert norms.total is not None
    return norms.total


def _multiplied(norms: Norms, factor: Array) -> Norms:
    return replace(norms, residual=factor if norms.residual is None else norms.residual * factor)
