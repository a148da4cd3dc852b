"""What the models of a training make of a task: its words, its texts' lengths, and what fits.

Tokenizers and configurations alone are read, no weights.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecd.errors import EdgecdError
from edgecd.formats.kinds import is_encoder
from edgecd.lm.models import load_fast_tokenizer, load_model_config
from edgecd.tasks.control import still_as_text
from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.encoding import encode_prompt, label_token_ids, word_tokens
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Example
from edgecd.training.check_record import STUDENT, Lengths, ModelLook

# So many texts tell how long all are.
_SAMPLE = 4_000
_MOST_TOKENS = 8_192  # that are counted of one text


def look(
    role: str,
    name: str,
    template: PromptTemplate,
    examples: Sequence[Example],
    shown: Demonstrations,
    max_length: int,
) -> ModelLook:
    """Ask a model's tokenizer; `shown` are the demonstrations that stand before each input.

    Raises InputError for a model that is not there, or that has no tokenizer that can be used.
    """
    config = load_model_config(name)
    tokenizer = still_as_text(load_fast_tokenizer(name).backend_tokenizer)
    faults = []
    words: dict[str, tuple[str, ...]] = {}
    if role == STUDENT and is_encoder(config):
        template = template.without_pattern
    else:
        for label, word in template.verbalizer.items():
            own = word_tokens(tokenizer, template.tail, word)
            words[label] = tuple(str(tokenizer.id_to_token(token)) for token in own)
        try:
            label_token_ids(tokenizer, template, name)
        except EdgecdError as bad:
            faults.append(str(bad))
    context = len(shown.ids(tokenizer, template)) if template.form == "prompt" else 0
    positions = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0) or None
    if positions is not None and context + max_length > positions and context:
        faults.append(
            f"{context} tokens of demonstrations and up to {max_length} of input are more than the "
            f"{positions} positions of {name}: lower --shots or --max-length"
        )
    lengths = _lengths(tokenizer, template, examples, max_length, context > 0)
    return ModelLook(role, name, template.form, lengths, words, context, positions, tuple(faults))


def _lengths(
    tokenizer: Any,
    template: PromptTemplate,
    examples: Sequence[Example],
    max_length: int,
    after_context: bool,
) -> Lengths:
    some = list(examples)
    if len(some) > _SAMPLE:
        some = random.Random("edgecd lengths").sample(some, _SAMPLE)
    most = max(_MOST_TOKENS, max_length + 1)
    counts = [
        len(encode_prompt(tokenizer, template, one.fields, most, after_context).ids) for one in some
    ]
    found = np.array(counts or [0])
    return Lengths(
        texts=len(some),
        mean=round(float(found.mean()), 1),
        median=int(np.median(found)),
        longest=int(found.max()),
        max_length=max_length,
        shortened=int((found > max_length).sum()),
    )
