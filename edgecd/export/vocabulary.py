"""Drop the tokens that a corpus never uses, so that the embedding table can lose their rows.

Why this is safe. The text of the corpus keeps exactly its tokens, and any other text falls back
to smaller kept pieces, in the end to single bytes, never to an unknown token:

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
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers

from edgecd.errors import InputError

_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))  # the pieces of byte fallback
_SPACE = "\u2581"  # SentencePiece's mark for a space; decoders know it only as a piece


@dataclass(frozen=True)
class Trimmed:
    """A tokenizer with ids 0..n-1, and the old id of each: the new table is `old[kept]`."""

    tokenizer: Tokenizer
    kept: NDArray[np.int64]


@dataclass(frozen=True)
class _Bpe:
    """A BPE model, by its keys in `tokenizer.json`; `merges` are pairs of pieces, best first."""

    vocab: Mapping[str, int]
    merges: list[tuple[str, str]]
    byte_fallback: bool
    dropout: float | None
    continuing_subword_prefix: str | None
    end_of_word_suffix: str | None
    unk_token: str | None

    @property
    def pieces(self) -> frozenset[str]:
        """All of its tokens."""
        return frozenset(self.vocab)

    def ways(self, tokens: Iterable[str]) -> set[str]:
        """The pieces that each token is built from."""
        rank = {(left, right): at for at, (left, right) in enumerate(self.merges)}
        return set().union(*(_way_to(token, rank) for token in tokens))

    def without(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        """The keys that change when the tokens that have no new id, and their merges, go."""
        vocab = {token: new_id[old] for token, old in self.vocab.items() if old in new_id}
        merges = [
            (left, right)
            for left, right in self.merges
            if left in vocab and right in vocab and left + right in vocab
        ]
        return {"vocab": vocab, "merges": merges}


@dataclass(frozen=True)
class _Unigram:
    """A Unigram model, by its keys in `tokenizer.json`: pieces with their scores."""

    vocab: list[tuple[str, float]]
    byte_fallback: bool
    unk_id: int | None

    @property
    def pieces(self) -> frozenset[str]:
        """All of its tokens."""
        return frozenset(piece for piece, _ in self.vocab)

    def ways(self, tokens: Iterable[str]) -> set[str]:
        """Nothing: its tokens are not built from others."""
        del tokens
        return set()

    def without(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        """The keys that change when the pieces that have no new id go."""
        kept = {"vocab": [entry for old, entry in enumerate(self.vocab) if old in new_id]}
        return kept if self.unk_id is None else {**kept, "unk_id": new_id[self.unk_id]}


def trim(tokenizer: Tokenizer, texts: Iterable[str], keep: Iterable[int] = ()) -> Trimmed:
    """Keep only the tokens that `texts` use, those that any other text falls back to, all added
    tokens, the ones that the post-processor inserts, and the ids in `keep` (padding).

    `texts` are tokenized as they are, so give whole prompts: a word at a text's start and the
    same word inside it are different tokens. New ids have the order of the old ones. The
    tokenizer itself is not changed.

    Raises InputError when text outside the corpus could become unknown: the tokenizer is neither
    a byte-level BPE nor a BPE or Unigram with byte fallback; and when an id of `keep`, of the
    padding or of the post-processor is no token.
    """
    spec: dict[str, Any] = json.loads(tokenizer.to_str())
    model = _model_of(spec)
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    tokens = {number: token for token, number in ids.items()}

    wanted = _fallback(model, _is_byte_level(spec))
    wanted |= {tokens[number] for number in _used(tokenizer, texts)}
    wanted |= model.ways(wanted)
    unknown_id = model.unk_id if isinstance(model, _Unigram) else None
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
    trimmed = Tokenizer.from_str(json.dumps(spec))
    # Ids of added tokens behind the model's vocabulary are given out anew on loading.
    if trimmed.get_vocab(with_added_tokens=True) != {tokens[old]: new_id[old] for old in kept}:
        raise InputError(
            "the vocabulary cannot be trimmed: the tokenizer's ids have gaps or doubles, so new "
            "ids would not follow the old order; export without trimming"
        )
    return Trimmed(trimmed, np.array(kept, dtype=np.int64))


def _used(tokenizer: Tokenizer, texts: Iterable[str]) -> set[int]:
    """The token ids of all texts, whole ones: the tokenizer's own truncation cuts nothing here."""
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    seen: set[int] = set()
    for text in texts:
        seen.update(whole.encode(text, add_special_tokens=False).ids)
    return seen


def _model_of(spec: Mapping[str, Any]) -> _Bpe | _Unigram:
    """The model inside a `tokenizer.json`; InputError for one that cannot be trimmed."""
    match spec:
        case {"model": {"type": "BPE"} as raw}:
            bpe = _Bpe(**{field.name: raw[field.name] for field in fields(_Bpe)})
            if bpe.dropout:
                raise _untrimmable(
                    "it has BPE dropout, so the same text has other tokens each time"
                )
            if bpe.continuing_subword_prefix or bpe.end_of_word_suffix:
                raise _untrimmable("it marks word parts or word ends, which is not supported")
            return bpe
        case {"model": {"type": "Unigram"} as raw}:
            return _Unigram(**{field.name: raw[field.name] for field in fields(_Unigram)})
        case {"model": {"type": kind}}:
            raise _untrimmable(f"its model is {kind}, where a word without its pieces is unknown")
    raise _untrimmable("it has no model")


def _fallback(model: _Bpe | _Unigram, is_byte_level: bool) -> set[str]:
    """The tokens that any text can be spelled with; InputError where there are none."""
    pieces = model.pieces
    if isinstance(model, _Bpe) and is_byte_level:
        # A byte that the vocabulary lacks is lost before trimming too.
        kept = set(pieces.intersection(pre_tokenizers.ByteLevel.alphabet()))
    elif model.byte_fallback and pieces >= _BYTES:
        # Models know a letter better than its byte, so the letters stay as well.
        letters = (piece for piece in pieces if len(piece) == 1 and piece.isascii())
        kept = {*_BYTES, *letters, *pieces.intersection([_SPACE])}
    else:
        kind = "BPE" if isinstance(model, _Bpe) else "Unigram"
        raise _untrimmable(
            f"it is a {kind} without byte-level pieces or a full set of byte-fallback pieces, so "
            "a character that the corpus lacks would be unknown"
        )
    if isinstance(model, _Unigram):
        if model.unk_id is None:
            raise _untrimmable("it is a Unigram without an unknown token, so it has no fallback")
        kept.add(min(model.vocab, key=lambda entry: entry[1])[0])
    elif model.unk_token in pieces:
        kept.add(str(model.unk_token))
    return kept


def _untrimmable(why: str) -> InputError:
    return InputError(f"the tokenizer cannot be trimmed: {why}; export without trimming")


def _is_byte_level(spec: Mapping[str, Any]) -> bool:
    """Whether its normalizer or pre-tokenizer spells text in byte symbols."""
    return any(_has_byte_level(spec.get(step)) for step in ("normalizer", "pre_tokenizer"))


def _has_byte_level(step: Mapping[str, Any] | None) -> bool:
    """Whether a normalizer or pre-tokenizer, or one inside it, is the byte-level one."""
    if step is None:
        return False
    inner = step.get("pretokenizers") or step.get("normalizers") or ()
    return step.get("type") == "ByteLevel" or any(map(_has_byte_level, inner))


def _way_to(token: str, rank: dict[tuple[str, str], int]) -> set[str]:
    """All pieces that the merges pass through from the characters of `token` to `token`.

    Only the token itself when merges do not build it: a byte piece, or a token that
    `ignore_merges` finds as a whole word.
    """
    parts = list(token)
    way = {token, *parts}
    while len(parts) > 1:
        first, at = min((rank.get(pair, math.inf), at) for at, pair in enumerate(pairwise(parts)))
        if first == math.inf:
            return {token}
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        way.add(parts[at])
    return way


def _id_slots(spec: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Every place outside the model that holds a token id, as (container, key)."""
    for added in spec.get("added_tokens", ()):
        yield added, "id"
    if padding := spec.get("padding"):
        yield padding, "pad_id"
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
            raise _untrimmable(f"its post-processor {other.get('type')} is not known here")
