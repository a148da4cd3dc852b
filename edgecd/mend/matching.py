"""A context without training: the positions that queries attend to, with values fitted to them.

Attention Matching (https://arxiv.org/abs/2602.16284) without its biases, which an ordinary cache
has no place for. Each layer and head keeps its own positions of the demonstrations. What is fitted
is what the attention gives for unlabelled queries, so there is a solution in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from edgecd.distill.contexts import Past, cache_of, remember_tokens
from edgecd.distill.models import LanguageModel

ROWS = 8
RIDGE = 1e-3  # of the mean square of a position's attention: how strongly values stay as they were


@dataclass(frozen=True)
class Watched:
    """One layer's attention for some queries.

    `weights` [rows, kv_heads, heads of each, query tokens, context + query tokens], 0 where a row
    is padding; `values` [rows, kv_heads, context + query tokens, head_size].
    """

    weights: torch.Tensor
    values: torch.Tensor


@torch.no_grad()
def match_attention(
    lm: LanguageModel, ids: Sequence[int], queries: Sequence[Sequence[int]], positions: int
) -> Past:
    """What the model remembers of tokens, in `positions` places, for queries like `queries`.

    The first token is always kept, as attention rests there. No gradient.
    """
    positions = min(positions, len(ids))
    past = remember_tokens(lm, ids)
    with _eager(lm):
        chosen = _choose(lm, past, queries, positions)
        fitted = _fit_values(lm, past, queries, chosen)
    # A query comes right behind what is kept; distances to it stay those in the whole text.
    moved = remember_tokens(lm, ids, positions - len(ids))
    return [
        (_take(keys, rows), values)
        for (keys, _), values, rows in zip(moved, fitted, chosen, strict=True)
    ]


def _choose(
    lm: LanguageModel, past: Past, queries: Sequence[Sequence[int]], positions: int
) -> list[torch.Tensor]:
    """By layer, [kv_heads, positions]: places with the most attention (mean square), in order."""
    length = past[0][0].shape[2]
    squares = [keys.new_zeros(keys.shape[1], length) for keys, _ in past]
    for layers in _watch(lm, past, queries):
        for number, seen in enumerate(layers):
            squares[number] += seen.weights[..., :length].square().sum((0, 2, 3))
    for layer in squares:
        layer[:, 0] = torch.inf
    return [layer.topk(positions, dim=1).indices.sort(dim=1).values for layer in squares]


def _fit_values(
    lm: LanguageModel, past: Past, queries: Sequence[Sequence[int]], chosen: list[torch.Tensor]
) -> list[torch.Tensor]:
    """By layer, [1, kv_heads, positions, head_size]: values with which attention gives the same.

    Least squares over the tokens of the queries: their own share of the attention's output is
    fixed, and what is left has to come from the chosen places.
    """
    length = past[0][0].shape[2]
    kept = [_take(values, rows)[0].double() for (_, values), rows in zip(past, chosen, strict=True)]
    products = [torch.zeros_like(one @ one.mT) for one in kept]
    sides = [torch.zeros_like(one) for one in kept]
    for layers in _watch(lm, past, queries):
        for number, seen in enumerate(layers):
            rows, heads, group, tokens, _ = seen.weights.shape
            shape = (rows, heads, group, tokens, -1)
            places = chosen[number][None, :, None, None].expand(shape)
            ours, own = seen.weights[..., :length].gather(4, places), seen.weights[..., length:]
            total = (ours.sum(-1, keepdim=True) + own.sum(-1, keepdim=True)).clamp_min(1e-30)
            before = torch.einsum("rhgqt,rhtd->rhgqd", seen.weights, seen.values)
            theirs = torch.einsum("rhgqt,rhtd->rhgqd", own / total, seen.values[:, :, length:])
            design = (ours / total).transpose(0, 1).reshape(heads, -1, ours.shape[-1]).double()
            wanted = (before - theirs).transpose(0, 1).reshape(heads, len(design[0]), -1).double()
            products[number] += design.mT @ design
            sides[number] += design.mT @ (wanted - design @ kept[number])
    fitted = []
    for values, product, side in zip(kept, products, sides, strict=True):
        size = product.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        ridge = RIDGE * size * torch.eye(product.shape[1], dtype=size.dtype, device=size.device)
        fitted.append((values + torch.linalg.solve(product + ridge, side))[None].to(lm.dtype))
    return fitted


def _watch(
    lm: LanguageModel, past: Past, queries: Sequence[Sequence[int]]
) -> Iterator[list[Watched]]:
    """The attention of every layer, for some queries at a time."""
    device, heads = lm.model.device, past[0][0].shape[1]
    ordered = sorted(queries, key=len)
    for start in range(0, len(ordered), ROWS):
        rows = ordered[start : start + ROWS]
        ids = torch.zeros(len(rows), len(rows[-1]), dtype=torch.long, device=device)
        real = torch.zeros_like(ids, dtype=torch.bool)
        for row, query in enumerate(rows):
            ids[row, : len(query)] = torch.tensor(list(query), device=device)
            real[row, : len(query)] = True
        cache = cache_of(past, len(rows))
        before = real.new_ones(len(rows), past[0][0].shape[2])
        read = lm.model.base_model(
            input_ids=ids,
            attention_mask=torch.cat([before, real], dim=1).long(),
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
        )
        yield [
            Watched(
                weights.float().unflatten(1, (heads, -1)) * real[:, None, None, :, None],
                kept.values.float(),
            )
            for weights, kept in zip(read.attentions, cache.layers, strict=True)
        ]


def _take(array: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows [kv_heads, positions] of [1, kv_heads, tokens, head_size]."""
    return array.gather(2, rows[None, :, :, None].expand(1, -1, -1, array.shape[3]))


@contextmanager
def _eager(lm: LanguageModel) -> Iterator[None]:
    """Attention that tells its weights, which the fast ones do not."""
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        lm.model.set_attn_implementation(before)
