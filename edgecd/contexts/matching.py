"""A context without training: a few positions that attention finds as good as all of them.

After Attention Matching (https://arxiv.org/abs/2602.16284): each layer and head keeps those
positions of the demonstrations that unlabelled queries attend to most, and changes their keys and
values until its output for these queries is nearly what it is after all demonstrations. Layers are
fitted alone, so no gradient goes through the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from edgecd.errors import InputError
from edgecd.lm.models import LanguageModel
from edgecd.lm.past import Pasts, cache_of, places, remember_tokens
from edgecd.lm.rows import pad_rows
from edgecd.tasks.batching import batches

_ROWS = 8
STEPS = 100
STEP_ROWS = 1024
LR = 0.05  # of the standard deviation of a layer's keys, and of its values
WATCHING = "edgecd_watching"


@dataclass(frozen=True)
class Watched:
    """One layer's attention, by head of keys: a row is a query's token and a head that shares it.

    `squares` [kv_heads, context]: the sums of the squared weights. `query` [kv_heads, rows,
    head_size], scaled; `own_mass` [kv_heads, rows, 1]: the logarithm of what the queries' own
    tokens weigh; `own_output` and `output` [kv_heads, rows, head_size]: what attention gives on
    these alone, and on all.
    """

    squares: torch.Tensor
    query: torch.Tensor
    own_mass: torch.Tensor
    own_output: torch.Tensor
    output: torch.Tensor


def match_attention(
    lm: LanguageModel, ids: Sequence[int], queries: Sequence[Sequence[int]], positions: int
) -> Pasts:
    """What the model remembers of tokens, in `positions` places, for queries like `queries`.

    The first token is always kept, as attention rests there. No gradient. Raises InputError for a
    model whose places are learned, or with layers that see too few tokens.
    """
    positions = min(positions, len(ids))
    # A query comes right behind what is kept; distances to it are those in the whole text.
    past = remember_tokens(lm, ids, positions - len(ids))
    if positions == len(ids):
        return past
    why = why_not(lm, len(ids) + max(map(len, queries)))
    if why is not None:
        raise InputError(f"{why}: keep all positions of the demonstrations")
    watched = list(_watch(lm, past, queries, positions))
    fitted = []
    for number, (keys, values) in enumerate(past):
        seen = [batch[number] for batch in watched]
        squares = torch.stack([one.squares for one in seen]).sum(0)
        squares[:, 0] = torch.inf
        kept = squares.topk(positions, dim=1).indices.sort(dim=1).values[..., None]
        start = [
            part[0].gather(1, kept.expand(-1, -1, part.shape[3])).float() for part in (keys, values)
        ]
        names = ("query", "own_mass", "own_output", "output")
        rows = [torch.cat([getattr(one, name) for one in seen], dim=1) for name in names]
        found = _fit(*start, *rows)
        fitted.append((found[0][None].to(lm.dtype), found[1][None].to(lm.dtype)))
    return fitted


def why_not(lm: LanguageModel, length: int) -> str | None:
    """Why a context for prompts of `length` tokens in all cannot be matched; None where it can."""
    if not hasattr(lm.model.base_model, "rotary_emb"):
        return (
            f"{lm.name} learned its places, and after fewer positions a query would stand at "
            "others than it did"
        )
    config = lm.model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if window and window < length and "sliding_attention" in kinds:
        return f"layers of {lm.name} see {window} tokens, and a whole prompt has {length}"
    return None


@torch.enable_grad()
def _fit(
    keys: torch.Tensor,
    values: torch.Tensor,
    query: torch.Tensor,
    own_mass: torch.Tensor,
    own_output: torch.Tensor,
    output: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [kv_heads, positions, head_size] with which attention gives `output`."""
    parts = [part.clone().requires_grad_() for part in (keys, values)]
    rates = [LR * float(part.std()) for part in (keys, values)]
    optimizer = torch.optim.Adam(
        [{"params": [part], "lr": rate} for part, rate in zip(parts, rates, strict=True)]
    )
    chance = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / STEPS)
        some = torch.randperm(query.shape[1], generator=chance)[:STEP_ROWS].to(query.device)
        logits = torch.cat([query[:, some] @ parts[0].mT, own_mass[:, some]], dim=-1)
        weights = torch.softmax(logits, dim=-1)
        found = weights[..., :-1] @ parts[1] + weights[..., -1:] * own_output[:, some]
        loss = (found - output[:, some]).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return parts[0].detach(), parts[1].detach()


@torch.no_grad()
def _watch(
    lm: LanguageModel, past: Pasts, queries: Sequence[Sequence[int]], place: int
) -> Iterator[list[Watched]]:
    """The attention of every layer, for some queries at a time, the first token at `place`."""
    for places_of in batches([len(one) for one in queries], _ROWS, tokens=None):
        rows = [queries[number] for number in places_of]
        ids, mask = pad_rows(rows, 0, lm.model.device)
        real = mask.bool()
        before = real.new_ones(len(rows), past[0][0].shape[2])
        with _watching(lm, real) as seen:
            lm.model.base_model(
                input_ids=ids,
                attention_mask=torch.cat([before, real], dim=1).long(),
                position_ids=places(lm.model.base_model, place, ids.shape[1]),
                past_key_values=cache_of(past, len(rows)),
                use_cache=True,
            )
        yield list(seen)
        seen.clear()  # the registry of attentions keeps the last one


@contextmanager
def _watching(lm: LanguageModel, real: torch.Tensor) -> Iterator[list[Watched]]:
    """Attention that notes what each layer does at the `real` tokens [rows, tokens]."""
    seen: list[Watched] = []

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        del module, options
        heads, tokens = key.shape[1], query.shape[2]
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        # [rows, heads of keys, heads that share one, tokens, head_size]
        asked = torch.unflatten(query.float(), 1, (heads, -1)) * scale
        logits = asked @ key[:, :, None].float().mT
        if attention_mask is not None:
            logits = logits + attention_mask[:, :, None, :, : key.shape[2]]
        weights = torch.softmax(logits, dim=-1)
        output = weights @ value[:, :, None].float()
        own = logits[..., -tokens:]
        squares = (weights[..., :-tokens].square() * real[:, None, None, :, None]).sum((0, 2, 3))
        own_output = torch.softmax(own, dim=-1) @ value[:, :, None, -tokens:].float()
        parts = (asked, own.logsumexp(-1, keepdim=True), own_output, output)
        rows = (part.permute(1, 0, 3, 2, 4)[:, real].flatten(1, 2) for part in parts)
        seen.append(Watched(squares, *rows))
        return output.flatten(1, 2).transpose(1, 2).to(query.dtype).contiguous(), None

    before = lm.model.config._attn_implementation
    AttentionInterface.register(WATCHING, attend)
    AttentionMaskInterface.register(WATCHING, eager_mask)
    lm.model.set_attn_implementation(WATCHING)
    try:
        yield seen
    finally:
        lm.model.set_attn_implementation(before)
