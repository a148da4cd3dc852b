"""Scores of the labels under a language model with demonstrations in its context.

The demonstrations are the same for every query, so their keys and values are computed once
and reused (prefix KV cache); only the label tokens' rows of the output head are multiplied, at
the last token. `lm.prompted` answers many queries with it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.lm.head import label_head
from edgecd.lm.models import LanguageModel, ModelFiles
from edgecd.lm.rows import pad_rows
from edgecd.tasks.encoding import label_token_ids
from edgecd.tasks.prompts import PromptTemplate


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a context that was read once (batch 1)."""

    cache: Any  # a transformers DynamicCache
    length: int


@dataclass(frozen=True)
class Scorer:
    """A language model ready to score the labels of one template.

    `head` holds its output head's rows of the label words, float32 [labels, width].
    """

    lm: LanguageModel
    template: PromptTemplate
    head: torch.Tensor


class DeferredScorer:
    """A scorer whose model is loaded when it is first needed, which may be never."""

    def __init__(self, files: ModelFiles, template: PromptTemplate) -> None:
        self.lm = files
        self.template = template
        self._ready: Scorer | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the model was needed, and its weights are in memory."""
        return self._ready is not None

    def ready(self) -> Scorer:
        """The scorer, loaded now if it was not; InputError as from `make_scorer`."""
        if self._ready is None:
            self._ready = make_scorer(self.lm.load(), self.template)
        return self._ready


def make_scorer(lm: LanguageModel, template: PromptTemplate) -> Scorer:
    """Find the label tokens and their head rows; InputError when a word is not one token."""
    tokens = label_token_ids(lm.text_tokenizer, template, lm.name)
    return Scorer(lm, template, label_head(lm.model, list(tokens.values())))


@torch.no_grad()
def read_prefix(scorer: Scorer, ids: Sequence[int]) -> Prefix:
    """Read token ids once; their keys and values serve every query after them."""
    model = scorer.lm.model
    inputs = torch.tensor([list(ids)], device=model.device)
    cache = model.base_model(input_ids=inputs, use_cache=True).past_key_values
    return Prefix(cache, len(ids))


@torch.no_grad()
def label_logits(
    scorer: Scorer, queries: Sequence[Sequence[int]], prefix: Prefix | None = None
) -> NDArray[np.float32]:
    """Logits [queries, labels] of the label tokens after each query (one batch).

    With a `prefix` the queries continue it, without they stand alone; token ids in both cases.
    """
    model = scorer.lm.model
    inputs, mask = pad_rows(queries, 0, model.device)
    last = mask.sum(dim=1) - 1
    options: dict[str, Any] = {"use_cache": False}
    if prefix is not None:
        cache = copy.deepcopy(prefix.cache)  # the model appends to it
        cache.batch_repeat_interleave(len(queries))
        mask = torch.cat([mask.new_ones(len(queries), prefix.length), mask], dim=1)
        options = {"past_key_values": cache, "use_cache": True}
    hidden = model.base_model(input_ids=inputs, attention_mask=mask, **options).last_hidden_state
    states = hidden[torch.arange(len(queries), device=model.device), last].float()
    logits: NDArray[np.float32] = (states @ scorer.head.T).cpu().numpy()
    return logits
