"""Drop the tokens that a corpus never uses, so that the embedding table can lose their rows.

Why this is safe. The text of the corpus keeps exactly its tokens, and any other text falls back
to smaller kept pieces, in the end to single bytes or characters. None becomes unknown that was not:

- *BPE* applies, again and again, the first merge of its list that fits. Kept are all starting
  symbols that the fallback needs, and for each token of the corpus every piece on its way from
  symbols to token, so every merge that the corpus uses is still there. Merges leave the list but
  never change places: where the full list picked a merge, it is still the first that fits, and
  where none fitted, none fits now. A token's way does not depend on its neighbours, since no
  merge crosses its borders before it is complete. So further merges between kept tokens may stay.
- *Unigram* picks the path with the highest sum of scores. The best path is still there, and the
  paths that were taken away only lost to it. A character that lost its own piece becomes unknown
  at a price below the lowest score of the vocabulary, so below what that piece cost; the piece
  with the lowest score is kept, so that the price stays. Byte fallback then spells it in bytes.
- *WordPiece* takes the longest piece that a word goes on with, again and again. Where that was a
  piece of the corpus, it still is. Kept are all pieces of one character, so any other word falls
  back to them, unless a character of it has no piece: then the word was unknown before, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgecd.errors import InputError
from edgecd.export.pieces import Unigram, fallback, model_of, untrimmable
from edgecd.tasks.control import as_text
from edgecd.tasks.encoding import token_ids


@dataclass(frozen=True)
class Trimmed:
    """A tokenizer with ids 0..n-1, and the old id of each: the new table is `old[kept]`."""

    tokenizer: Tokenizer
    kept: NDArray[np.int64]


def trim(tokenizer: Tokenizer, texts: Iterable[str], keep: Iterable[int] = ()) -> Trimmed:
    """Keep only the tokens that `texts` use, those that any other text falls back to, all added
    tokens, the ones that the post-processor inserts, and the ids in `keep` (padding).

    `texts` are tokenized as they are, so give whole prompts: a word at a text's start and the
    same word inside it are different tokens. New ids have the order of the old ones. The
    tokenizer itself is not changed; the copy encodes texts as text (see `tasks.control`).

    Raises InputError when known text outside the corpus could become unknown: the tokenizer is
    neither a byte-level BPE, nor a BPE or Unigram with byte fallback, nor a WordPiece with a piece
    for each of its characters; and when an id of `keep` or of the post-processor is no token.
    """
    whole = as_text(Tokenizer.from_str(tokenizer.to_str()))
    spec: dict[str, Any] = json.loads(whole.to_str())
    model = model_of(spec)
    ids: dict[str, int] = whole.get_vocab(with_added_tokens=True)
    tokens = {number: token for token, number in ids.items()}

    wanted = fallback(model, spec)
    for text in texts:
        wanted |= {tokens[number] for number in token_ids(whole, text, special=False)}
    wanted |= model.ways(wanted)
    unknown_id = model.unk_id if isinstance(model, Unigram) else None
    always = {*keep, *(int(box[key]) for box, key in _id_slots(spec))}
    always |= set() if unknown_id is None else {unknown_id}
    if unknown := sorted(always - tokens.keys()):
        raise InputError(
            f"the vocabulary cannot be trimmed: token id {unknown[0]} must be kept (for padding, "
            "or because the tokenizer inserts it), but the tokenizer has no token with this id"
        )

    kept = sorted(always | {ids[token] for token in wanted})
    new_id = {old: new for new, old in enumerate(kept)}
    for box, key in _id_slots(spec):
        box[key] = new_id[box[key]]
    spec["model"].update(model.without(new_id))
    trimmed = as_text(Tokenizer.from_str(json.dumps(spec)))
    # Ids of added tokens behind the model's vocabulary are given out anew on loading.
    if trimmed.get_vocab(with_added_tokens=True) != {tokens[old]: new_id[old] for old in kept}:
        raise InputError(
            "the vocabulary cannot be trimmed: the tokenizer's ids have gaps or doubles, so new "
            "ids would not follow the old order; export without trimming"
        )
    return Trimmed(trimmed, np.array(kept, dtype=np.int64))


def _id_slots(spec: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Every place outside the model that holds a token id, as (container, key)."""
    for added in spec.get("added_tokens", ()):
        yield added, "id"
    yield from _processor_slots(spec.get("post_processor"))


def _processor_slots(processor: dict[str, Any] | None) -> Iterator[tuple[Any, Any]]:
    match processor:
        case None | {"type": "ByteLevel"}:
            return
        case {"type": "Sequence", "processors": processors}:
            for inner in processors:
                yield from _processor_slots(inner)
        case {"type": "TemplateProcessing", "special_tokens": special}:
            for inserted in special.values():
                ids = inserted.get("ids")
                yield from ((ids, at) for at in range(len(ids)))
        case {"type": "RobertaProcessing" | "BertProcessing", "sep": sep, "cls": cls}:
            yield from ((sep, 1), (cls, 1))
        case other:
            raise untrimmable(f"its post-processor {other.get('type')} is not known here")
