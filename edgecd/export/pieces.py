"""What a tokenizer's model can lose, and what it must keep: BPE, Unigram and WordPiece."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from tokenizers import pre_tokenizers

from edgecd.errors import InputError

_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))  # the pieces of byte fallback
_SPACE = "\u2581"  # SentencePiece's mark for a space; decoders know it only as a piece


@dataclass(frozen=True)
class Bpe:
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
class Unigram:
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


@dataclass(frozen=True)
class WordPiece:
    """A WordPiece model, by its keys in `tokenizer.json`."""

    vocab: Mapping[str, int]
    unk_token: str
    continuing_subword_prefix: str
    max_input_chars_per_word: int

    @property
    def pieces(self) -> frozenset[str]:
        """All of its tokens."""
        return frozenset(self.vocab)

    def ways(self, tokens: Iterable[str]) -> set[str]:
        """Nothing: its tokens are not built from others."""
        del tokens
        return set()

    def without(self, new_id: Mapping[int, int]) -> dict[str, Any]:
        """The keys that change when the tokens that have no new id go."""
        return {"vocab": {token: new_id[old] for token, old in self.vocab.items() if old in new_id}}

    def spelled(self, piece: str) -> list[str]:
        """A piece as pieces of one character, each at its place in a word."""
        mark = self.continuing_subword_prefix
        first, inner = (
            ("", piece.removeprefix(mark)) if piece.startswith(mark) else (piece[:1], piece[1:])
        )
        return [*first, *(mark + letter for letter in inner)]


Model = Bpe | Unigram | WordPiece


def model_of(spec: Mapping[str, Any]) -> Model:
    """The model inside a `tokenizer.json`; InputError for one that cannot be trimmed."""
    match spec:
        case {"model": {"type": "BPE"} as raw}:
            bpe = Bpe(**{field.name: raw[field.name] for field in fields(Bpe)})
            if bpe.dropout:
                raise untrimmable("it has BPE dropout, so the same text has other tokens each time")
            if bpe.continuing_subword_prefix or bpe.end_of_word_suffix:
                raise untrimmable("it marks word parts or word ends, which is not supported")
            return bpe
        case {"model": {"type": "Unigram"} as raw}:
            return Unigram(**{field.name: raw[field.name] for field in fields(Unigram)})
        case {"model": {"type": "WordPiece"} as raw}:
            return WordPiece(**{field.name: raw[field.name] for field in fields(WordPiece)})
        case {"model": {"type": kind}}:
            raise untrimmable(f"its model is {kind}, where a word without its pieces is unknown")
    raise untrimmable("it has no model")


def fallback(model: Model, spec: Mapping[str, Any]) -> set[str]:
    """The tokens that any text can be spelled with; InputError where there are none.

    `spec` is the `tokenizer.json` around the model.
    """
    pieces = model.pieces
    if isinstance(model, WordPiece):
        return _letters(model, {added["content"] for added in spec.get("added_tokens", ())})
    if isinstance(model, Bpe) and _is_byte_level(spec):
        # A byte that the vocabulary lacks is lost before trimming too.
        kept = set(pieces.intersection(pre_tokenizers.ByteLevel.alphabet()))
    elif model.byte_fallback and pieces >= _BYTES:
        # Models know a letter better than its byte, so the letters stay as well.
        letters = (piece for piece in pieces if len(piece) == 1 and piece.isascii())
        kept = {*_BYTES, *letters, *pieces.intersection([_SPACE])}
    else:
        kind = "BPE" if isinstance(model, Bpe) else "Unigram"
        raise untrimmable(
            f"it is a {kind} without byte-level pieces or a full set of byte-fallback pieces, so "
            "a character that the corpus lacks would be unknown"
        )
    if isinstance(model, Unigram):
        if model.unk_id is None:
            raise untrimmable("it is a Unigram without an unknown token, so it has no fallback")
        kept.add(min(model.vocab, key=lambda entry: entry[1])[0])
    elif model.unk_token in pieces:
        kept.add(str(model.unk_token))
    return kept


def _letters(model: WordPiece, added: set[str]) -> set[str]:
    """The pieces of one character and the unknown token; InputError where some are lacking."""
    pieces, unknown = model.pieces, model.unk_token
    for piece in sorted(pieces - added - {unknown}):
        if not pieces.issuperset(model.spelled(piece)):
            raise untrimmable(
                f"the characters of its piece {piece!r} have no pieces of their own, so a word "
                "with them that the corpus lacks could become unknown"
            )
    ones = {piece for piece in pieces if model.spelled(piece) == [piece]}
    return ones | pieces.intersection([unknown])


def untrimmable(why: str) -> InputError:
    """Why a tokenizer keeps its whole vocabulary."""
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
