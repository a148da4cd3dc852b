"""Hostile tokenizers, of every family and of steps that no library has."""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from random import Random
from typing import Any

from edgecd.formats import tokenizerfile
from edgecd.formats.manifest import TOKENIZER
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.tasks.control import control_tokens
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.prompts import PromptTemplate
from tests.hostile import values
from tests.hostile.values import TEXTS, WrongError


@functools.cache
def _tokenizers() -> tuple[Any, ...]:
    from tests.unit.test_control import FAMILIES

    return tuple(json.loads(family().to_str()) for family in FAMILIES)


_PATTERNS = (
    r"\s+",
    r"(a+)+$",
    r"(a|a)*b",
    r"\p{L}+|.",
    "a{9}{99}",
    "(?<x>a\\g<x>?b)",
    "",
    "[",
    "x?",
)
_NUMBERS = (0, 1, 2, 5, 64, 10**9, -1)
_CHARSMAP = base64.b64encode(b"\x08\0\0\0" + b"\xff" * 8 + b"a\0b\0").decode()
_KINDS = {
    "normalizer": ("normalizers", tokenizerfile.NORMALIZERS),
    "pre_tokenizer": ("pretokenizers", tokenizerfile.PRE_TOKENIZERS),
    "post_processor": ("processors", tokenizerfile.POST_PROCESSORS),
    "decoder": ("decoders", tokenizerfile.DECODERS),
}


def _step(random: Random, part: str, depth: int = 0) -> Any:
    inner, kinds = _KINDS[part]
    if random.random() < 0.2 and depth < 20:
        many = random.choice((1, 2, 3, 40))
        return {"type": "Sequence", inner: [_step(random, part, depth + many) for _ in range(many)]}
    pattern = {random.choice(("String", "Regex")): random.choice(_PATTERNS)}
    step = {
        "type": random.choice((*kinds, "Unheard")),
        "content": random.choice(("", "a", "aa", "x" * 900)),
        "pattern": pattern,
        "prepend": random.choice(("▁", "", "p" * 900)),
        "behavior": random.choice(("Isolated", "Removed", "MergedWithNext", "Contiguous")),
        "replacement": random.choice(("▁", "", "ab")),
        "prepend_scheme": random.choice(("always", "first", "never")),
        "precompiled_charsmap": random.choice((_CHARSMAP, "", "AAAA", "!")),
        "sep": ["</s>", random.choice(_NUMBERS)],
        "cls": ["<s>", random.choice(_NUMBERS)],
        "single": random.choice(([], [{"Sequence": {"id": "A", "type_id": 0}}] * 3)),
        "pair": [],
        "special_tokens": {"x": {"id": "x", "ids": [random.choice(_NUMBERS)], "tokens": ["a"]}},
    }
    flags = ("invert", "split", "lowercase", "strip_left", "strip_right", "use_regex")
    flags += ("add_prefix_space", "trim_offsets", "individual_digits", "clean_text", "cleanup")
    flags += ("handle_chinese_chars", "strip_accents")
    step |= {name: random.random() < 0.5 for name in flags}
    numbers = ("length", "start", "stop", "max_length")
    return step | {name: random.choice(_NUMBERS) for name in numbers} | {"delimiter": "a"}


def make_tokenizer(random: Random, folder: Path) -> None:
    spec = random.choice(_tokenizers())
    if random.random() < 0.5:
        spec = dict(spec)
        for part in random.sample(list(_KINDS), random.randint(1, 3)):
            spec[part] = _step(random, part)
    if random.random() < 0.6:
        spec = values.changed(random, spec)
    if random.random() < 0.1:
        spec = {**spec, "padding": {"strategy": {"Fixed": random.choice(_NUMBERS)}}}
    (folder / TOKENIZER).write_bytes(values.json_bytes(random, spec))


def read_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / TOKENIZER)
    control = set(control_tokens(tokenizer))
    template = PromptTemplate("Text: {text}\nAnswer:", {"a": " a", "b": " b"})
    for text in TEXTS:
        for one in (template, template.without_pattern):
            encode_prompt(tokenizer, one, {"text": text}, 32)
    spelled = "".join(token for token in control_tokens(tokenizer).values() if len(token) > 1)
    found = tokenizer.encode(spelled[:500], add_special_tokens=False)
    for number, (start, end) in zip(found.ids, found.offsets, strict=True):
        if number in control and tokenizer.id_to_token(number) in spelled[start:end] != "":
            raise WrongError("a text became a control token")
