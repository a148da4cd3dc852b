"""Which patterns of a tokenizer are cheap: those of real ones are, and the known traps are not."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from edgecd.errors import InputError
from edgecd.formats.patterns import MAX_LENGTH, check_pattern

WORDS = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REAL = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama-3": CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen-2": CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt-4o": "|".join(
        (
            f"{WORDS}*[\\p{{Ll}}\\p{{Lm}}\\p{{Lo}}\\p{{M}}]+{CONTRACTIONS}?",
            f"{WORDS}+[\\p{{Ll}}\\p{{Lm}}\\p{{Lo}}\\p{{M}}]*{CONTRACTIONS}?",
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )
    ),
    "deepseek-v3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?"
    r"[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",  # noqa: RUF001
    "clip": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "galactica": r"[\(\)\[\]\{\}]|([!\"#\$%\&'\*\+,\-\./:;<=>\?\\\^_`\|\~])\1*",
    "falcon": r"[0-9][0-9][0-9]",
    "right to left": r"(?=(\d{3})+(?!\d))",
    "digits": r"\p{Nd}{1,3}(?=(?:\p{Nd}{3})*(?:\P{Nd}|$))",
    "chinese": "[一-龥\u3040-ゟ゠-ヿ]+",  # noqa: RUF001
    "spaces": r" {2,}",
    "sentencepiece": r"^▁+$",
    "own": r"<(?=/s>)|\[(?=SEP\])",
    "lazy": r"a+?b|\s++",
}
TRAPS = {
    "nested": r"(a+)+$",
    "nested in a group": r"(?:(?:a*)*)b",
    "choices": r"(a|a)*b",
    "choices of lengths": r"(?:a|aa)+$",
    "optional in repeated": r"(a?)+b",
    "counted optional": r"(?:a?){30}a{30}",
    "one after the other": r"a*a*b",
    "three": r"\s*\s*\s*x",
    "in groups": r"(a*)(?:b|(c*a*))d*x",
    "many choices": "(?:a|b)" * 9 + "c",
    "many optional": "a?" * 30 + "a" * 30,
    "counted counts": r"(?:(?:(?:a{100}){100}){100})",
    "far": r"a{100000}",
    "back": r"(a*)\1*b",
    "recursion": r"(?<x>a\g<x>?b)",
    "conditional": r"(a)?(?(1)b|c)",
    "absent": r"(?~abc)",
    "deep": "(" * 40 + "a" + ")" * 40,
    "long": "a" * (MAX_LENGTH + 1),
    "open": "(a",
    "closed": "a)",
    "set": "[a",
    "nothing": "*a",
}


@pytest.mark.parametrize("name", REAL)
def test_patterns_of_real_tokenizers_pass(name: str) -> None:
    check_pattern(REAL[name], "here")


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"here: the pattern .* may take too long"):
        check_pattern(TRAPS[name], "here")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                "a*",
                "a+",
                "a?",
                "(",
                "(?:",
                ")",
                "|",
                "{2}",
                "{1,3}",
                "+",
                "*",
                "?",
                "\\s*",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_what_passes_is_quick(pattern: str) -> None:
    with contextlib.suppress(InputError):
        check_pattern(pattern, "here")
        try:
            split = pre_tokenizers.Split(Regex(pattern), "isolated")
        except Exception:
            return  # the library has its own idea of the language
        started = time.process_time()
        with contextlib.suppress(BaseException):  # it panics where it gives up
            split.pre_tokenize_str("a" * 2_000 + "c" + "ab" * 500)
        assert time.process_time() - started < 1
