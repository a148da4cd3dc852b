"""From a language model to a classifier: its head's rows of the label words, its first tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from edgecd.errors import InputError
from edgecd.lm.head import label_head
from edgecd.lm.models import LanguageModel
from edgecd.tasks.encoding import added_tokens, label_token_ids
from edgecd.tasks.prompts import PromptTemplate


def fold(lm: LanguageModel, template: PromptTemplate) -> PreTrainedModel:
    """The language model as the standard `*ForSequenceClassification` of its family.

    The label words' rows of the output head become its `score` layer, so the logits are the
    language model's own for those words (last real token, no bias), and the rest of the head is
    gone. Raises InputError when a word is not one token, or the family has no such class.
    """
    tokens = label_token_ids(lm.text_tokenizer, template, lm.name)
    rows = label_head(lm.model, list(tokens.values()))
    return classifier_of(lm.model.base_model, rows, template.labels, _pad_token(lm), lm.name)


def classifier_of(
    body: PreTrainedModel, rows: torch.Tensor, labels: Sequence[str], pad_token_id: int, name: str
) -> PreTrainedModel:
    """The classifier of a language model's body and the head's rows [labels, width]."""
    config = type(body.config).from_dict(body.config.to_dict())
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.num_labels = len(labels)
    config.pad_token_id = pad_token_id
    config.tie_word_embeddings = False  # the head that was tied is gone
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        raise InputError(
            f"{name}: transformers has no text-classification class for {config.model_type!r}"
        ) from None
    # The backbone is the same module tree under the same prefix: share it, copy nothing.
    setattr(model, model.base_model_prefix, body)
    head = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False)
    head.weight.data.copy_(rows)
    model.score = head.to(body.device, body.dtype)
    return model.eval()


def start_tokens(lm: LanguageModel) -> list[int]:
    """What the tokenizer puts in front of a text, else its start or end token, if it has one."""
    lead, _ = added_tokens(lm.text_tokenizer)
    start = next((t for t in (lm.tokenizer.bos_token, lm.tokenizer.eos_token) if t), None)
    return lead or ([] if start is None else [lm.text_tokenizer.token_to_id(start)])


def _pad_token(lm: LanguageModel) -> int:
    """A token that pads and never ends a prompt; the classifier finds the last token by it."""
    for candidate in (
        lm.tokenizer.pad_token_id,
        lm.model.config.pad_token_id,
        lm.tokenizer.eos_token_id,
        lm.tokenizer.unk_token_id,
    ):
        if candidate is not None and 0 <= candidate < lm.model.config.vocab_size:
            return int(candidate)
    raise InputError(f"{lm.name}: the tokenizer has no pad, end or unknown token to pad with")
