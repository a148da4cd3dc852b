"""Decoder classifiers in one plain description: numpy arrays, whatever the family.

`families` describes a model so; what rewrites weights (`precondition`) and what writes the graph
(`graph`) see a `Stack` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """`x @ weight + bias`: weight [in, out], bias [out]."""

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True)
class Norm:
    """LayerNorm, or RMSNorm where nothing is `centered`; scale and shift [width]."""

    scale: Array
    epsilon: float
    shift: Array | None = None
    centered: bool = False


@dataclass(frozen=True)
class Norms:
    """Where a sublayer normalises: its input, its output, or its sum with the residual.

    `residual` [width] multiplies the residual, where the weights have been rewritten.
    """

    input: Norm | None = None
    output: Norm | None = None
    total: Norm | None = None
    residual: Array | None = None


@dataclass(frozen=True)
class Rotary:
    """Rotary embedding over halves: frequencies [head_size / 2], and what scales cos and sin."""

    frequencies: Array
    scaling: float = 1.0


@dataclass(frozen=True)
class Past:
    """Keys (after rotation) and values of constant tokens, each [kv_heads, tokens, head_size]."""

    keys: Array
    values: Array


@dataclass(frozen=True)
class Attention:
    """Attention, causal in a decoder; every token sees `past`, and `window` tokens back at most.

    `value_scale` [kv_heads, head_size] multiplies values that come from outside, where the weights
    have been rewritten.
    """

    q: Linear
    k: Linear
    v: Linear
    out: Linear
    heads: int
    kv_heads: int
    scale: float
    q_norm: Norm | None = None  # each head on its own
    k_norm: Norm | None = None
    rotary: Rotary | None = None
    window: int | None = None
    past: Past | None = None
    value_scale: Array | None = None

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return int(self.q.weight.shape[1]) // self.heads


@dataclass(frozen=True)
class Mlp:
    """`down(activation(gate(x)) * up(x))`, or `down(activation(up(x)))` without a gate.

    `rotation` [block, block] turns the input of `down`, block by block.
    """

    up: Linear
    down: Linear
    activation: str
    gate: Linear | None = None
    rotation: Array | None = None


@dataclass(frozen=True)
class Block:
    """One layer."""

    attention: Attention
    attention_norms: Norms
    mlp: Mlp
    mlp_norms: Norms


@dataclass(frozen=True)
class Stack:
    """A whole classifier; tables are [rows, width], positions counted from 0."""

    tokens: Array
    blocks: Sequence[Block]
    head: Linear
    positions: Array | None = None
    project_in: Linear | None = None
    project_out: Linear | None = None
    final_norm: Norm | None = None

    @property
    def past_length(self) -> int:
        """Number of constant tokens in front of every text."""
        past = self.blocks[0].attention.past
        return 0 if past is None else int(past.keys.shape[1])


def with_pasts(stack: Stack, pasts: Sequence[Past]) -> Stack:
    """The same classifier with other constant tokens, one Past for each layer."""
    blocks = [
        replace(block, attention=replace(block.attention, past=past))
        for block, past in zip(stack.blocks, pasts, strict=True)
    ]
    return replace(stack, blocks=blocks)


def join_pasts(pasts: Sequence[Past]) -> Past:
    """One layer's pasts of several prefixes as one, [kv_heads, all tokens, head_size]."""
    return Past(
        np.concatenate([past.keys for past in pasts], axis=1),
        np.concatenate([past.values for past in pasts], axis=1),
    )


def split_pasts(joined: Sequence[Past | None], lengths: Sequence[int]) -> list[list[Past]]:
    """Joined pasts, one a layer, as those of prefixes of these lengths, [prefix][layer]."""
    ends = np.cumsum(lengths).tolist()
    return [
        [
            Past(past.keys[:, end - length : end], past.values[:, end - length : end])
            for past in joined
            if past is not None
        ]
        for end, length in zip(ends, lengths, strict=True)
    ]
