"""A stranger's tokenizer.json: real ones are read, and what would hang or fill memory is not."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from edgecd.errors import InputError, native_failure
from edgecd.formats import tokenizerfile
from edgecd.formats.tokenizerfile import check_tokenizer, load_tokenizer
from edgecd.tasks.encoding import token_ids
from tests import foreign, tiny, tiny_encoders
from tests.unit.test_control import FAMILIES, unigram, word_pieces

BPE: dict[str, Any] = json.loads(foreign.tokenizer().to_str())
UNIGRAM: dict[str, Any] = json.loads(unigram().to_str())
WORDS: dict[str, Any] = json.loads(word_pieces().to_str())


def text(spec: Any) -> bytes:
    return json.dumps(spec).encode()


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_read(family: Callable[[], Tokenizer], indent: int | None) -> None:
    spec = json.loads(family().to_str())
    check_tokenizer(json.dumps(spec, indent=indent).encode())
    check_tokenizer(json.dumps(spec, indent=indent, ensure_ascii=False).encode())


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-0.5b", "minilm-l6"])
def test_real_ones_are_read(name: str) -> None:
    path = tiny.REAL_MODELS / name / "tokenizer.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    check_tokenizer(path.read_bytes())


def test_those_of_tests_are_read() -> None:
    for made in (tiny.tiny_tokenizer(), tiny_encoders.word_pieces(), tiny_encoders.byte_pieces()):
        check_tokenizer(made.backend_tokenizer.to_str().encode())


def test_the_old_form_of_merges_and_a_model_without_its_kind_are_read() -> None:
    spec = copy.deepcopy(BPE)
    spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
    del spec["model"]["type"]
    check_tokenizer(text(spec))


def changed(base: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """The tokenizer with other parts; `model` changes some of its keys."""
    spec = copy.deepcopy(base)
    spec["model"].update(parts.pop("model", {}))
    return {**spec, **parts}


def charsmap(texts: bytes, trie: bytes = b"\0" * 8) -> dict[str, Any]:
    table = len(trie).to_bytes(4, "little") + trie + texts
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def sequence(kind: str, inner: str, steps: list[Any]) -> dict[str, Any]:
    return {"type": kind, inner: steps}


def template(pieces: int, ids: int) -> dict[str, Any]:
    special = {"id": "x", "ids": [0] * ids, "tokens": ["a"] * ids}
    return {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}] * pieces,
        "pair": [],
        "special_tokens": {"x": special},
    }


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "Lowercase"}
    for _ in range(depth):
        inner = sequence("Sequence", "normalizers", [inner])
    return inner


def added(count: int, letters: int) -> list[dict[str, Any]]:
    one = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return [{"id": n, "content": f"{n:0{letters}}", **one} for n in range(count)]


DOUBLED = replace({"String": "a"}, "aa")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "not valid JSON"),
    "no object": (b"[]", "must be an object"),
    "no model": (b"{}", "model must be an object"),
    "two models": (text(BPE)[:-1] + b',"model":{"type":"BPE"}}', "a key appears twice"),
    "two vocabularies": (
        text(BPE).replace(b'"merges"', b'"vocab": {}, "merges"'),
        "a key appears twice",
    ),
    "deep": (b'{"a":' * 50_000, "not valid JSON"),
    "deep vocabulary": (text(changed(BPE, model={"vocab": {"a": {"b": {}}}})), "no list of pieces"),
    "unknown model": (text(changed(BPE, model={"type": "Script"})), "'Script' is not one of"),
    "unknown step": (text(changed(BPE, normalizer={"type": "Run"})), "'Run' is not one of"),
    "no step": (text(changed(BPE, normalizer=[1])), "must be an object"),
    "nested": (text(changed(BPE, normalizer=nested(50))), "nested too deeply"),
    "steps": (
        text(
            changed(
                BPE,
                normalizer=sequence(
                    "Sequence",
                    "normalizers",
                    [sequence("Sequence", "normalizers", [{"type": "NFC"}] * 60)] * 60,
                ),
            )
        ),
        "steps are too many",
    ),
    "growth": (
        text(changed(BPE, normalizer=sequence("Sequence", "normalizers", [DOUBLED] * 40))),
        "times as long",
    ),
    "growth at every place": (
        text(changed(BPE, normalizer=replace({"Regex": "x?"}, "y" * 500))),
        "times as long",
    ),
    "long text": (
        text(changed(BPE, normalizer={"type": "Prepend", "prepend": "a" * 9999})),
        "long",
    ),
    "pattern": (text(changed(BPE, pre_tokenizer=split("(a+)+$"))), "may take too long"),
    "pattern in a normalizer": (
        text(changed(BPE, normalizer=replace({"Regex": "(a|a)*b"}, ""))),
        "may take too long",
    ),
    "no length": (text(changed(BPE, pre_tokenizer={"type": "FixedLength", "length": 0})), "length"),
    "repeated text": (text(changed(BPE, post_processor=template(9, 1))), "repeats a text"),
    "many tokens": (text(changed(BPE, post_processor=template(1, 999))), "at most"),
    "long word": (text(changed(WORDS, model={"max_input_chars_per_word": 10**9})), "whole number"),
    "dropout": (text(changed(BPE, model={"dropout": 0.5})), "dropout"),
    "many added": (text(changed(BPE, added_tokens=added(31_000, 5))), "at most"),
    "long added": (text(changed(BPE, added_tokens=added(2, 5000))), "no short text"),
    "much added": (text(changed(BPE, added_tokens=added(1_000, 1_000))), "characters together"),
    "large Unigram": (
        text(changed(UNIGRAM, model={"vocab": [["a" * 1000 + str(n), 0.0] for n in range(9000)]})),
        "too large",
    ),
    "charsmap": (text(changed(UNIGRAM, normalizer=charsmap(b"x" * 5000))), "too long a text"),
    "damaged charsmap": (
        text(
            changed(UNIGRAM, normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="})
        ),
        "damaged",
    ),
    "charsmap is no text": (
        text(changed(UNIGRAM, normalizer={"type": "Precompiled", "precompiled_charsmap": 5})),
        "must be text",
    ),
    "much else": (text(changed(BPE, other=["x" * 100] * 50_000)), "besides its vocabulary"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_cost_time_or_memory_is_refused_unread(name: str, tmp_path: Path) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}: .*{message}"):
        load_tokenizer(path)


def test_a_file_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizerfile, "MAX_BYTES", 1_000)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(text(BPE))
    with pytest.raises(InputError, match="is over 1000 bytes"):
        load_tokenizer(path)
    with pytest.raises(InputError, match="no such file"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "stored",
    [
        {
            "padding": {
                "strategy": {"Fixed": 10**9},
                "direction": "Right",
                "pad_to_multiple_of": None,
            }
        },
        {"truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst"}},
    ],
)
def test_padding_to_a_thousand_million_tokens_is_not_done(stored: Any, tmp_path: Path) -> None:
    for values in stored.values():
        values |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "x", "stride": 0}
    path = tmp_path / "tokenizer.json"
    path.write_bytes(text({**BPE, **stored}))
    assert 1 < len(load_tokenizer(path).encode("the cat").ids) < 9


def test_a_panic_of_the_library_becomes_an_error_and_an_interruption_stays_one() -> None:
    panic = type("PanicException", (BaseException,), {})
    failure = native_failure(panic("index out of bounds\nat line 5"), "it cannot be read")
    assert isinstance(failure, InputError)
    assert str(failure) == "it cannot be read: index out of bounds"
    stop = KeyboardInterrupt()
    assert native_failure(stop, "it cannot be read") is stop


def test_a_panic_while_reading_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    # A table whose units lead behind its end
    path.write_bytes(text(changed(UNIGRAM, normalizer=charsmap(b"x\0", b"\xff" * 8))))
    with pytest.raises(InputError):
        token_ids(load_tokenizer(path), "the cat", special=False)
