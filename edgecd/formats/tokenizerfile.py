"""Reading a `tokenizer.json`, which comes from anywhere.

The library that reads it is made for files of one's own: it trusts sizes, and may panic, hang or
take all memory. So a file is looked at first: its parts are of known kinds, each bounded. Of the
vocabulary, nearly all of a file, only the size is asked, as the library checks the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecd.errors import InputError, native_failure
from edgecd.formats import strict
from edgecd.formats.patterns import check_pattern
from edgecd.tasks.control import as_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Far above any real file, but for vocabularies, which are at most a third of it.
MAX_BYTES = 48 << 20
MAX_SMALL_BYTES = 4 << 20  # of all but the vocabulary
MAX_ADDED, MAX_ADDED_CHARACTERS = 30_000, 1 << 19
MAX_STEPS, MAX_NESTING = 64, 8
MAX_STRING = 1_024
MAX_GROWTH = 64  # of a text, by what its normalizers put in
MAX_WORD = 1_000  # characters that WordPiece looks at
# A Unigram model is kept letter by letter, at some 350 bytes each
MAX_UNIGRAM_BYTES, MAX_UNIGRAM_LETTERS, _UNIGRAM_ENTRY = 20 << 20, 8 << 20, 20
MAX_CHARSMAP_BYTES, MAX_CHARSMAP_RUN = 1 << 20, 256

_MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")
NORMALIZERS = (
    "BertNormalizer",
    "ByteLevel",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Replace",
    "Strip",
    "StripAccents",
)
PRE_TOKENIZERS = (
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "Metaspace",
    "Punctuation",
    "Split",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
)
POST_PROCESSORS = ("BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing")
DECODERS = (
    "BPEDecoder",
    "ByteFallback",
    "ByteLevel",
    "CTC",
    "Fuse",
    "Metaspace",
    "Replace",
    "Strip",
    "WordPiece",
)
_PARTS = {
    "normalizer": ("normalizers", NORMALIZERS),
    "pre_tokenizer": ("pretokenizers", PRE_TOKENIZERS),
    "post_processor": ("processors", POST_PROCESSORS),
    "decoder": ("decoders", DECODERS),
}
# The vocabulary: pieces and numbers, in an object, a list, or a list of short lists.
_TEXT, _REST = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', rb'[^"\[\]{}]*+'
_FLAT = _REST + rb"(?:" + _TEXT + _REST + rb")*+"
_VOCABULARY = re.compile(
    rb'"(vocab|merges)"(\s*+:\s*+)'
    + rb"(\{" + _FLAT + rb"\}|\[" + _FLAT + rb"(?:\[" + _FLAT + rb"\]" + _FLAT + rb")*+\])",
    re.DOTALL,
)  # fmt: skip


def load_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json` that encodes texts as text, and whole (see `tasks.control`).

    Raises InputError for a file that is none, and for one that is beyond every bound here.
    """
    from tokenizers import Tokenizer

    content = read_tokenizer(path)
    try:
        return as_text(Tokenizer.from_buffer(content))
    except BaseException as bad:
        raise native_failure(bad, f"{path} is not a tokenizer") from None


def read_tokenizer(path: Path) -> bytes:
    """The bytes of a `tokenizer.json` that may be handed to the library; else InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is over {MAX_BYTES} bytes: no tokenizer is")
    content = path.read_bytes()
    try:
        check_tokenizer(content)
    except InputError as bad:
        raise InputError(f"{path}: {bad}") from None
    return content


def check_tokenizer(content: bytes) -> None:
    """Raise InputError for what the library had better not read."""
    vocabulary: list[tuple[int, int]] = []

    def leave_out(found: re.Match[bytes]) -> bytes:
        if found[1] == b"vocab":
            vocabulary.append(found.span(3))
        return b'"%s"%s"left out"' % (found[1], found[2])

    small = _VOCABULARY.sub(leave_out, content)
    if len(small) > MAX_SMALL_BYTES:
        raise InputError(f"besides its vocabulary it has over {MAX_SMALL_BYTES} bytes")
    try:
        raw = json.loads(small.decode(), object_pairs_hook=strict.unique_keys)
    except (ValueError, RecursionError) as bad:
        raise InputError(f"not valid JSON ({bad})") from None
    spec = strict.mapping(raw, "a tokenizer")
    kind = _check_model(strict.mapping(spec.get("model"), "model"))
    if kind == "Unigram":
        for start, end in vocabulary:
            letters = end - start - _UNIGRAM_ENTRY * content.count(b'",', start, end)
            if end - start > MAX_UNIGRAM_BYTES or letters > MAX_UNIGRAM_LETTERS:
                raise InputError(f"model: a vocabulary of {end - start} bytes is too large")
    _check_added(spec.get("added_tokens") or [])
    for part, (inner, kinds) in _PARTS.items():
        steps = list(_steps(spec.get(part), part, inner, kinds))
        if len(steps) > MAX_STEPS:
            raise InputError(f"{part}: {len(steps)} steps are too many")
        growth = 1
        for step in steps:
            growth *= _check_step(step, part)
        if growth > MAX_GROWTH:
            raise InputError(f"{part}: it makes a text {growth} times as long")


def _check_model(model: Mapping[str, Any]) -> str:
    """The model's kind; InputError for one that is not known, or out of bounds."""
    # The oldest files do not say the kind, and the library guesses
    kind = model.get("type", "BPE" if "merges" in model else "WordLevel")
    if kind not in _MODELS:
        raise InputError(f"model: {str(kind)[:64]!r} is not one of {', '.join(_MODELS)}")
    for name in ("vocab", "merges"):
        if name in model and model[name] != "left out":
            raise InputError(f"model: {name} is no list of pieces")
    for name, value in model.items():
        if isinstance(value, str) and len(value) > MAX_STRING:
            raise InputError(f"model: {name[:64]!r} has {len(value)} characters")
    if model.get("dropout"):
        raise InputError("model: it has dropout, so that a text has other tokens each time")
    if kind == "WordPiece" and "max_input_chars_per_word" in model:
        strict.whole(model["max_input_chars_per_word"], "max_input_chars_per_word", 1, MAX_WORD)
    return str(kind)


def _check_added(added: Any) -> None:
    characters = 0
    for one in strict.items(added, "added_tokens", MAX_ADDED):
        content = strict.mapping(one, "added_tokens").get("content")
        if not isinstance(content, str) or len(content) > MAX_STRING:
            raise InputError("added_tokens: a token is no short text")
        characters += len(content)
    if characters > MAX_ADDED_CHARACTERS:
        raise InputError(f"added_tokens: they have {characters} characters together")


def _steps(
    step: Any, part: str, inner: str, kinds: Sequence[str], depth: int = 0
) -> Iterator[Mapping[str, Any]]:
    """The steps of a part of a tokenizer, those inside others in their order."""
    if step is None:
        return
    if depth > MAX_NESTING:
        raise InputError(f"{part}: its steps are nested too deeply")
    kind = strict.mapping(step, part).get("type")
    if kind in kinds:
        yield step
        return
    if kind != "Sequence":
        raise InputError(f"{part}: {str(kind)[:64]!r} is not one of {', '.join(kinds)}")
    for one in strict.items(step.get(inner), f"{part}: {inner}", MAX_STEPS):
        yield from _steps(one, part, inner, kinds, depth + 1)


def _check_step(step: Mapping[str, Any], part: str) -> int:
    """How many times as long the step makes a text; InputError for one that is out of bounds."""
    for name, value in step.items():
        is_long = isinstance(value, str | list | dict) and len(value) > MAX_STRING
        if is_long and name != "precompiled_charsmap":
            raise InputError(f"{part}: {name[:64]!r} is too long")
    match step:
        case {"type": "Precompiled", "precompiled_charsmap": table}:
            return _check_charsmap(table)
        case {"type": "FixedLength", **values}:
            strict.whole(values.get("length", 5), f"{part}: length", 1, MAX_STRING)
        case {"type": "Prepend", "prepend": before}:
            return 1 + len(before) // MAX_STRING
        case {"type": "Replace", "pattern": {"String": str(found)}, "content": str(content)}:
            return max(1, -(-len(content) // max(1, len(found))))
        case {"type": "Replace", "pattern": {"Regex": str(pattern)}, "content": str(content)}:
            check_pattern(pattern, part)
            return 1 + len(content)
        case {"type": "Split", "pattern": {"Regex": str(pattern)}}:
            check_pattern(pattern, part)
        case {"type": "TemplateProcessing"}:
            _check_template(step)
    return 1


def _check_template(step: Mapping[str, Any]) -> None:
    """A frame of few tokens around a text, which stands in it once."""
    where = "post_processor: "
    for name in ("single", "pair"):
        named = []
        for piece in strict.items(step.get(name) or [], where + name, MAX_STEPS):
            if (text := strict.mapping(piece, where + name).get("Sequence")) is not None:
                named.append(str(strict.mapping(text, where + name).get("id")))
        if len(set(named)) < len(named):
            raise InputError(f"{where}it repeats a text")
    for one in strict.mapping(step.get("special_tokens") or {}, f"{where}special_tokens").values():
        special = strict.mapping(one, f"{where}special_tokens")
        strict.items(special.get("ids"), f"{where}ids", MAX_STEPS)


def _check_charsmap(table: Any) -> int:
    """SentencePiece's table of characters: texts that stand for others, with zeros between."""
    try:
        content = base64.b64decode(
            strict.text(table, "charsmap", MAX_CHARSMAP_BYTES), validate=True
        )
    except (ValueError, binascii.Error):
        raise InputError("normalizer: its table of characters is not base64") from None
    size = int.from_bytes(content[:4], "little")
    if size % 4 or 4 + size > len(content):
        raise InputError("normalizer: its table of characters is damaged")
    texts = content[4 + size :].split(b"\0")
    if max(map(len, texts)) > MAX_CHARSMAP_RUN:
        raise InputError("normalizer: its table of characters has too long a text")
    return 1
