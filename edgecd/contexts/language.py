"""A frozen language model with something in front of its query, differentiable.

What is in front, a `Front`, is keys and values by layer: read from tokens (the teacher), from
vectors in place of embeddings (MEND, prompt tuning), or made directly (HyperTuning). For an
encoder-decoder it is embeddings (see `encoder_decoder`). A gradient flows through it to whatever
made it, never into the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForSeq2SeqLM

from edgecd.contexts.encoder_decoder import answer_logits, embeddings
from edgecd.lm.models import LanguageModel, find_model, load_model_config
from edgecd.lm.past import Pasts, cache_of, remember, remember_tokens
from edgecd.lm.rows import pad_rows

Front = Pasts | torch.Tensor


@dataclass(frozen=True)
class Continuation:
    """Token ids that follow a front; the last `answer_length` of them are the answer."""

    ids: tuple[int, ...]
    answer_length: int


def load_frozen(name: str, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """A language model, decoder-only or encoder-decoder, whose weights do not train."""
    files = find_model(name, device, dtype)
    kind = AutoModelForSeq2SeqLM if load_model_config(name).is_encoder_decoder else None
    lm = files.load(kind) if kind else files.load()
    lm.model.requires_grad_(False)
    return lm


def is_encoder_decoder(lm: LanguageModel) -> bool:
    """Whether the model has an encoder for what it reads."""
    return bool(lm.model.config.is_encoder_decoder)


def positions_of(front: Front) -> int:
    """How many positions a query finds in front of it."""
    return len(front) if isinstance(front, torch.Tensor) else int(front[0][0].shape[2])


def front_of_tokens(lm: LanguageModel, ids: Sequence[int]) -> Front:
    """What the model remembers of demonstrations; no gradient."""
    if is_encoder_decoder(lm):
        with torch.no_grad():
            return embeddings(lm, ids)
    return remember_tokens(lm, ids)


def front_of_vectors(lm: LanguageModel, vectors: torch.Tensor) -> Front:
    """What it remembers of vectors [positions, width] in place of embeddings."""
    if is_encoder_decoder(lm):
        return vectors
    return remember(lm, inputs_embeds=vectors[None].to(lm.dtype))


def next_token_logits(
    lm: LanguageModel,
    front: Front,
    continuations: Sequence[Continuation],
    answers_only: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits [tokens, vocabulary], targets [tokens], is_answer [tokens]) over all continuations.

    Each token of a continuation but its first is a target, predicted from what comes before it;
    with `answers_only`, and for an encoder-decoder, those of the answers alone are.
    """
    if isinstance(front, torch.Tensor):
        return answer_logits(lm, front, continuations)
    device = lm.model.device
    ids, mask = pad_rows([one.ids for one in continuations], 0, device)
    real = mask.bool()
    asked = [len(one.ids) - one.answer_length for one in continuations]
    # Counted from the left: right padding is no answer, as it is not real
    after = torch.arange(ids.shape[1], device=device) >= torch.tensor(asked, device=device)[:, None]
    is_answer = real & after
    before = mask.new_ones(len(continuations), positions_of(front))
    states = lm.model.base_model(
        input_ids=ids,
        attention_mask=torch.cat([before, mask], dim=1),
        past_key_values=cache_of(front, len(ids)),
        use_cache=True,
    ).last_hidden_state
    targeted = (is_answer if answers_only else real)[:, 1:]
    logits = lm.model.get_output_embeddings()(states[:, :-1][targeted])
    return logits.float(), ids[:, 1:][targeted], is_answer[:, 1:][targeted]
