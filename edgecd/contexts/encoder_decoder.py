"""The same for a frozen encoder-decoder (T5): the front stands before the query in the encoder.

A front is embeddings, [positions, width]: of the demonstrations (the teacher), or vectors. What
follows a continuation's query is told by the decoder, so only the answer's tokens are predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from edgecd.contexts.language import Continuation
    from edgecd.lm.models import LanguageModel


def embeddings(lm: LanguageModel, ids: Sequence[int]) -> torch.Tensor:
    """[tokens, width]."""
    table = lm.model.get_input_embeddings()
    embedded: torch.Tensor = table(torch.tensor(list(ids), device=lm.model.device))
    return embedded


def answer_logits(
    lm: LanguageModel, front: torch.Tensor, continuations: Sequence[Continuation]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(logits [tokens, vocabulary], targets [tokens], is_answer [tokens]) of the answers."""
    model, device = lm.model, lm.model.device
    end = model.config.eos_token_id
    read, mask, answers = [], [], []
    for one in continuations:
        asked = [*one.ids[: len(one.ids) - one.answer_length], end]
        read.append(torch.cat([front.to(lm.dtype), embeddings(lm, asked)]))
        mask.append(torch.ones(len(read[-1]), dtype=torch.long, device=device))
        answers.append(torch.tensor(one.ids[len(one.ids) - one.answer_length :], device=device))
    pad = torch.nn.utils.rnn.pad_sequence
    # -100 stands for no target in transformers, and becomes padding in the decoder's input
    targets = pad(answers, batch_first=True, padding_value=-100)
    logits = model(
        inputs_embeds=pad(read, batch_first=True),
        attention_mask=pad(mask, batch_first=True),
        labels=targets,
    ).logits.float()
    real = targets >= 0
    return logits[real], targets[real], torch.ones_like(targets[real], dtype=torch.bool)
