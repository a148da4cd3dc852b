"""Contexts of a language model in PyTorch: read from tokens or vectors, kept, and given back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from edgecd.errors import InputError
from edgecd.files import public
from edgecd.formats.context import Context, ContextFacts
from edgecd.lm.fold import start_tokens
from edgecd.lm.models import LanguageModel
from edgecd.lm.scorer import Prefix, Scorer

# Keys and values of each layer, [1, kv_heads, positions, head_size] each
Pasts = Sequence[tuple[torch.Tensor, torch.Tensor]]


def model_fingerprint(model: PreTrainedModel) -> str:
    """Hex SHA-256 of a language model's weights, without its head and whatever their precision.

    Every weight is rounded to 16 bits first (bfloat16), so that the same model loaded in float32
    and in bfloat16 is the same.
    """
    digest = hashlib.sha256()
    for name, weights in sorted(model.base_model.state_dict().items()):
        digest.update(f"{name} {list(weights.shape)}\n".encode())
        rounded = weights.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16)
        digest.update(rounded.numpy().tobytes())
    return digest.hexdigest()


def start_ids(lm: LanguageModel) -> list[int]:
    """What stands in front of a query when there are no demonstrations: a start token's ids.

    Raises InputError for a tokenizer that has none.
    """
    ids = start_tokens(lm)
    if not ids:
        raise InputError(f"{lm.name}: the tokenizer has no start token")
    return ids


def remember(lm: LanguageModel, **inputs: torch.Tensor | None) -> Pasts:
    """What the model remembers of its inputs, all of them whatever a layer's window."""
    cache = DynamicCache()  # the model's own forgets what is behind it
    lm.model.base_model(past_key_values=cache, use_cache=True, **inputs)
    return [(layer.keys, layer.values) for layer in cache.layers]


@torch.no_grad()
def remember_tokens(lm: LanguageModel, ids: Sequence[int], first: int = 0) -> Pasts:
    """What it remembers of tokens, the first at place `first` (see `places`); no gradient."""
    tokens = torch.tensor([list(ids)], device=lm.model.device)
    positions = places(lm.model.base_model, first, tokens.shape[1])
    return remember(lm, input_ids=tokens, position_ids=positions)


def places(body: Any, first: int, length: int) -> torch.Tensor | None:
    """Position ids [1, length] from `first` on; None for learned places, which are the text's own.

    Rotary places are relative, so those of tokens may be negative.
    """
    if not hasattr(body, "rotary_emb"):
        return None
    return torch.arange(first, first + length, device=body.device)[None]


def cache_of(past: Pasts, rows: int) -> DynamicCache:
    """A model's cache that holds the same keys and values for each of `rows` rows.

    The model appends to it; what is given stays as it is.
    """
    cache = DynamicCache()  # the model's own forgets what is behind a layer's window
    for number, layer in enumerate(past):
        cache.update(*(part.expand(rows, -1, -1, -1) for part in layer), number)
    return cache


def past_array(past: Pasts) -> NDArray[np.float32]:
    """Keys and values as a context keeps them, [layers, 2, kv_heads, positions, head_size]."""
    layers = [torch.stack([keys[0], values[0]]) for keys, values in past]
    stacked: NDArray[np.float32] = torch.stack(layers).float().cpu().numpy()
    return stacked


def prefix_of(past: NDArray[np.float32], lm: LanguageModel) -> Prefix:
    """What queries are read after, of an array [layers, 2, kv_heads, positions, head_size]."""
    cache = DynamicCache()
    for number, layer in enumerate(torch.from_numpy(past).to(lm.model.device, lm.dtype)):
        cache.update(layer[0][None], layer[1][None], number)
    return Prefix(cache, int(past.shape[3]))


def make_context(
    scorer: Scorer,
    past: NDArray[np.float32],
    method: str,
    task: str,
    max_length: int,
    shots: int,
    context_tokens: int,
    **provenance: object,
) -> Context:
    """A context, not calibrated, of keys and values of the scorer's model for its template.

    `past` is [layers, 2, kv_heads, positions, head_size]; `shots` demonstrations of
    `context_tokens` tokens went in. More keywords are kept as how it was made.
    """
    lm, template = scorer.lm, scorer.template
    facts = ContextFacts(
        method=method,
        model=public(lm.name),
        fingerprint=model_fingerprint(lm.model),
        task=task,
        labels=template.labels,
        verbalizer=dict(template.verbalizer),
        template=template.text,
        max_length=max_length,
        shots=shots,
        context_tokens=context_tokens,
        provenance=provenance,
    )
    return Context(facts, past, scorer.head.detach().cpu().numpy())
