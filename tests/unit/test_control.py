"""What a user writes is text, whatever it spells: for every family of tokenizers, at every door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from edgecd.errors import InputError
from edgecd.formats.tokenizerfile import load_tokenizer
from edgecd.tasks.control import as_text, control_tokens, without_control
from edgecd.tasks.encoding import (
    CHARACTERS,
    demonstration_ids,
    encode_prompt,
    label_token_ids,
    token_ids,
)
from edgecd.tasks.prompts import PromptTemplate
from tests import tiny

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = "<>[]|/_="
PROMPT = PromptTemplate("Text: {text}\nAnswer:", {"a": " True", "b": " False"})


def byte_pairs() -> Tokenizer:
    """As GPT-2's."""
    made = tiny.byte_level_bpe([tiny.sentence(n) for n in range(30)], 400, ["<|endoftext|>"])
    made.add_special_tokens(["<|im_start|>", "[END]"])
    return made


def added_behind() -> Tokenizer:
    """As Llama's and Qwen's: added tokens behind the vocabulary, some not declared special."""
    made = tiny.byte_level_bpe([tiny.sentence(n) for n in range(30)], 400, [])
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    made.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    made.add_tokens([AddedToken("    ", special=False, normalized=False)])
    return made


def whole_words() -> Tokenizer:
    """As Llama 3's, which takes a word of the vocabulary without merging it."""
    vocabulary = {piece: place for place, piece in enumerate([*LETTERS, *SIGNS, "Ġ", "[END]"])}
    made = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[END]"])
    return made


def whole_texts() -> Tokenizer:
    """One that splits at digits alone, so that a text may be a piece as it is."""
    made = whole_words()
    made.pre_tokenizer = pre_tokenizers.Digits()
    return made


def unigram() -> Tokenizer:
    """As XLM-R's and DeBERTa's: control tokens are pieces of the model, and the likeliest."""
    control = ["<s>", "</s>", "<unk>", "[SEP]"]
    pieces = [*((token, 0.0) for token in control), ("▁", -2.0), ("▁the", -3.0)]
    pieces += [(letter, -5.0) for letter in LETTERS + SIGNS]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens(control)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made


def word_pieces() -> Tokenizer:
    """As BERT's, but split at blanks alone, so that a whole `[SEP]` reaches the vocabulary."""
    pieces = ["[UNK]", "[SEP]", *LETTERS, *SIGNS, *(f"##{one}" for one in LETTERS + SIGNS)]
    pieces += [*LETTERS.upper(), *(f"##{one}" for one in LETTERS.upper())]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[UNK]", "[SEP]"])
    return made


FAMILIES: tuple[Callable[[], Tokenizer], ...] = (
    byte_pairs,
    added_behind,
    whole_words,
    whole_texts,
    unigram,
    word_pieces,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_becomes_a_control_token(family: Callable[[], Tokenizer]) -> None:
    tokenizer = family()
    control = control_tokens(tokenizer)
    assert control
    for number, token in control.items():
        assert number in family().encode(token, add_special_tokens=False).ids, "no test else"
        for text in (token, f"the {token} cat", f"the{token}cat", f"{token}{token}"):
            assert number not in token_ids(tokenizer, text, special=False), text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_tokenizer_reads_alike_for_whoever_knows_nothing_of_this(
    family: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    tokenizer = family()
    path = tmp_path / "tokenizer.json"
    path.write_text(without_control(tokenizer).to_str(), encoding="utf-8")
    plain, ours = Tokenizer.from_file(str(path)), load_tokenizer(path)
    pieces = st.sampled_from([*control_tokens(tokenizer).values(), "the", " ", "    ", "cat", "<"])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(pieces, max_size=6).map("".join))
    def check(text: str) -> None:
        ids = token_ids(tokenizer, text, special=True)
        assert plain.encode(text).ids == token_ids(ours, text, special=True) == ids

    check()


def test_added_pieces_of_text_stay_pieces() -> None:
    tokenizer = added_behind()
    run = tokenizer.token_to_id("    ")
    assert token_ids(tokenizer, "a    b", special=False).count(run) == 1
    assert token_ids(without_control(tokenizer), "a    b", special=False).count(run) == 1


def test_ids_stay_where_pieces_of_text_stand_behind_control_tokens() -> None:
    tokenizer = added_behind()
    kept = without_control(tokenizer).get_vocab()
    assert {token: kept[token] for token in tokenizer.get_vocab() if token in kept} == {
        token: number for token, number in tokenizer.get_vocab().items() if token in kept
    }


def test_a_frame_keeps_its_control_tokens() -> None:
    tokenizer = unigram()
    assert token_ids(tokenizer, "the", special=True) == [0, tokenizer.token_to_id("▁the"), 1]
    shown = as_text(tokenizer).encode("the", "</s>").ids
    assert (shown[0], shown[-1], shown.count(1)) == (0, 1, 2)


def test_an_unknown_character_may_still_be_unknown() -> None:
    tokenizer = unigram()
    assert 2 in token_ids(tokenizer, "é", special=False)


@pytest.mark.parametrize("stored", ["truncation", "padding", "both"])
def test_padding_and_truncation_in_the_file_do_not_matter(stored: str, tmp_path: Path) -> None:
    tokenizer = tiny.tiny_tokenizer().backend_tokenizer
    texts = ["a", "the cat sits under the old house and reads", ""]
    expected = [token_ids(tokenizer, text, special=True) for text in texts]
    words = label_token_ids(tokenizer, PROMPT, "tiny")
    if stored != "padding":
        tokenizer.enable_truncation(3)
    if stored != "truncation":
        tokenizer.enable_padding(length=64)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    assert json.loads(path.read_text(encoding="utf-8")).get("padding") is not None or (
        stored == "truncation"
    )
    loaded = load_tokenizer(path)
    assert [token_ids(loaded, text, special=True) for text in texts] == expected
    assert label_token_ids(loaded, PROMPT, "tiny") == words


def test_a_template_with_a_control_token_is_refused() -> None:
    tokenizer = tiny.tiny_tokenizer().backend_tokenizer
    template = PromptTemplate("{text}</s>\nAnswer:", {"a": " True", "b": " False"})
    with pytest.raises(InputError, match="'</s>', a control token of tiny"):
        label_token_ids(tokenizer, template, "tiny")


@pytest.mark.parametrize("text", ["a " * 600_000, "a" * 1_000_000, " " * 1_000_000 + "a"])
def test_a_text_of_a_million_characters_is_cut_before_it_is_tokenized(text: str) -> None:
    tokenizer = tiny.tiny_tokenizer().backend_tokenizer
    found = encode_prompt(tokenizer, PROMPT, {"text": text}, 64)
    assert found.shortened and len(found.ids) <= 64
    assert found == encode_prompt(tokenizer, PROMPT, {"text": text[:CHARACTERS] + "b"}, 64)


def test_a_text_is_cut_as_without_the_bound() -> None:
    tokenizer = tiny.tiny_tokenizer().backend_tokenizer
    short = " ".join(tiny.sentence(n) for n in range(200))[: CHARACTERS - 10]
    whole = short + " " + " ".join(tiny.sentence(n) for n in range(900))
    expected = encode_prompt(tokenizer, PROMPT, {"text": short}, 64)
    assert expected.shortened
    assert encode_prompt(tokenizer, PROMPT, {"text": whole}, 64) == expected


def test_long_demonstrations_are_cut_before_they_are_tokenized() -> None:
    tokenizer = tiny.tiny_tokenizer().backend_tokenizer
    assert demonstration_ids(tokenizer, ["a " * 1_000_000], 10) == demonstration_ids(
        tokenizer, ["a " * 20], 10
    )
