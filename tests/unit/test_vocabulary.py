"""A trimmed tokenizer says the same about its corpus, and never 'unknown' about anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from edgecd.errors import InputError
from edgecd.export.vocabulary import Trimmed, trim
from edgecd.tasks.control import as_text
from tests.tiny import byte_level_bpe

LEARNED = [
    "the cat sat on the mat and the other cats sat there",
    "a river, a bridge, a boat on the river and under the bridge",
    "Grüße aus Köln, naïve café, 日本語 日本",
    "x = 10; y = 100; x + y = 110",
    "hello    hello hello",
] * 3
CORPUS = ["the cats sat on a bridge", "under the café: 日本 x = 10", "unseen \U0001f600 é\tword"]
BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]


def start_token(tokenizer: Tokenizer) -> Any:
    return processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )


def byte_level() -> Tokenizer:
    """Byte-level BPE as GPT-2's, with special tokens in front and one behind the vocabulary."""
    tokenizer = byte_level_bpe(LEARNED, 420, ["<pad>", "<s>"])
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), start_token(tokenizer)]
    )
    return tokenizer


def every_pair() -> Tokenizer:
    """Byte-level BPE as Llama-3's: a merge for each split of a token, whole words looked up first.

    No merge builds " under", and the normalizer makes the byte symbols.
    """
    spec = json.loads(byte_level().to_str())
    model = spec["model"]
    vocab = model["vocab"]
    model["merges"] = [
        [token[:at], token[at:]]
        for token in vocab
        for at in range(1, len(token))
        if token[:at] in vocab and token[at:] in vocab
    ]
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) != "Ġunder"]
    model["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.ByteLevel()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("Ġ", "merged_with_next")
    return tokenizer


def sentencepiece(model: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>"])
    tokenizer.post_processor = start_token(tokenizer)
    return tokenizer


def byte_fallback_bpe() -> Tokenizer:
    """BPE as Llama-2's: whole sentences, a merge for each split, bytes for unknown characters."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(LEARNED, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    learned = sorted(learner.get_vocab(), key=learner.token_to_id)
    pieces = ["<unk>", "<s>", *BYTE_PIECES, *learned]
    merges = [
        (piece[:at], piece[at:])
        for piece in learned
        for at in range(1, len(piece))
        if {piece[:at], piece[at:]} <= set(learned)
    ]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    return sentencepiece(model)


def byte_fallback_unigram() -> Tokenizer:
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=110, show_progress=False)
    learner.train_from_iterator(LEARNED, trainer)
    learned = [(piece, score) for piece, score in json.loads(learner.to_str())["model"]["vocab"]]
    pieces = [*((piece, 0.0) for piece in ("<s>", *BYTE_PIECES)), *learned]
    pieces.append(("<unk>", 0.0))  # the last id, so that trimming moves it
    return sentencepiece(models.Unigram(pieces, unk_id=len(pieces) - 1, byte_fallback=True))


MADE: dict[str, Callable[[], Tokenizer]] = {
    made.__name__: cache(made)
    for made in (byte_level, every_pair, byte_fallback_bpe, byte_fallback_unigram)
}
every_kind = pytest.mark.parametrize("kind", MADE)


@cache
def trimmed_by_corpus(kind: str) -> Trimmed:
    return trim(MADE[kind](), CORPUS)


def check_same(tokenizer: Tokenizer, trimmed: Trimmed, text: str) -> None:
    """Same tokens; and old ids are the new ids looked up in `kept`, as the embedding will be."""
    before, after = as_text(tokenizer).encode(text), trimmed.tokenizer.encode(text)
    assert after.tokens == before.tokens
    assert trimmed.kept[after.ids].tolist() == before.ids


def check_fallback(tokenizer: Tokenizer, trimmed: Trimmed, text: str) -> None:
    """Nothing is unknown or lost: the text that comes back is the untrimmed tokenizer's."""
    ids = trimmed.tokenizer.encode(text).ids
    assert all(0 <= number < len(trimmed.kept) for number in ids)
    expected = as_text(tokenizer).encode(text).ids
    assert trimmed.tokenizer.decode(ids) == tokenizer.decode(expected)
    assert "<unk>" not in trimmed.tokenizer.encode(text).tokens


# --- texts of the corpus --------------------------------------------------------------------


@every_kind
@settings(max_examples=40, deadline=None)
@given(corpus=st.lists(st.text() | st.sampled_from(LEARNED), max_size=4))
def test_a_corpus_keeps_its_tokens(kind: str, corpus: list[str]) -> None:
    trimmed = trim(MADE[kind](), corpus)
    for text in corpus:
        check_same(MADE[kind](), trimmed, text)


@every_kind
@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text("thecasonmdrivbug ", min_size=1), min_size=1, max_size=6))
def test_words_of_known_letters_keep_their_tokens(kind: str, words: list[str]) -> None:
    trimmed = trim(MADE[kind](), words)
    for word in words:
        check_same(MADE[kind](), trimmed, word)


@every_kind
def test_tokens_that_the_corpus_lacks_are_dropped(kind: str) -> None:
    tokenizer, trimmed = MADE[kind](), trimmed_by_corpus(kind)
    size = tokenizer.get_vocab_size()
    assert 256 < len(trimmed.kept) == trimmed.tokenizer.get_vocab_size() < size
    assert np.all(np.diff(trimmed.kept) > 0)  # the order of the old ids
    assert trimmed.kept[0] >= 0 and trimmed.kept[-1] < size
    for new, old in enumerate(trimmed.kept):
        assert trimmed.tokenizer.id_to_token(new) == tokenizer.id_to_token(int(old))


@every_kind
def test_trimming_again_drops_nothing_more(kind: str) -> None:
    trimmed = trimmed_by_corpus(kind)
    again = trim(trimmed.tokenizer, CORPUS)
    assert again.kept.tolist() == list(range(len(trimmed.kept)))
    assert again.tokenizer.to_str() == trimmed.tokenizer.to_str()


# --- any other text -------------------------------------------------------------------------


@every_kind
@settings(max_examples=150, deadline=None)
@given(text=st.text())
@example("\U0010ffff\x00 \x7f▁ ▁日本語 Köln")
@example("the <s> river <pad>")
@example("hello    bridge 110")
def test_any_text_falls_back_without_unknown_tokens(kind: str, text: str) -> None:
    check_fallback(MADE[kind](), trimmed_by_corpus(kind), text)


@every_kind
def test_an_empty_corpus_still_spells_everything(kind: str) -> None:
    trimmed = trim(MADE[kind](), [])
    for text in LEARNED:
        check_fallback(MADE[kind](), trimmed, text)


def test_pieces_of_an_unseen_word_stay_in_use() -> None:
    trimmed = trim(byte_level(), ["the bridge"])
    assert trimmed.tokenizer.encode("the bridge", add_special_tokens=False).tokens[1] == "Ġbridge"
    assert len(trimmed.tokenizer.encode(" brid", add_special_tokens=False).tokens) < len(" brid")


def test_a_unigram_keeps_the_price_of_an_unknown_character() -> None:
    """Without the unused worst piece, an unknown snowman would cost 30 and not 110, so that
    `pq ☃ rs` at 32 would win over `p q☃r s` at 60."""
    scores = {"▁": -1, "pq": -1, "rs": -1, "p": -20, "q☃r": -20, "s": -20, "unused": -100}
    pieces = [*((piece, 0.0) for piece in ("<unk>", "<s>", *BYTE_PIECES)), *scores.items()]
    tokenizer = sentencepiece(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    trimmed = trim(tokenizer, ["pq☃rs", "pq", "rs"])
    check_same(tokenizer, trimmed, "pq☃rs")
    assert trimmed.tokenizer.encode("pq☃rs").tokens[-3:] == ["p", "q☃r", "s"]


@pytest.mark.parametrize("kind", ["byte_fallback_bpe", "byte_fallback_unigram"])
def test_letters_and_the_unknown_token_stay(kind: str) -> None:
    trimmed = trim(MADE[kind](), [])
    assert trimmed.tokenizer.encode("t").tokens[-1] in ("t", "▁t")  # not <0x74>
    unknown = trimmed.tokenizer.token_to_id("<unk>")
    model = json.loads(trimmed.tokenizer.to_str())["model"]
    assert unknown is not None and model.get("unk_id", unknown) == unknown


# --- pieces of words ------------------------------------------------------------------------


@cache
def word_pieces() -> Tokenizer:
    """As BERT's: a pair has its special tokens between, and one token stands behind the pieces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LEARNED, trainer)
    tokenizer.add_special_tokens(["[END]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.text("thecasonmdrivbug ", min_size=1), min_size=1, max_size=6))
@example(words=LEARNED)
@example(words=["[SEP] [END] the", "zzz ☃ cats"])
def test_words_of_a_corpus_keep_their_pieces(words: list[str]) -> None:
    trimmed = trim(word_pieces(), words)
    for word in words:
        check_same(word_pieces(), trimmed, word)


@settings(max_examples=150, deadline=None)
@given(text=st.text() | st.text("thecasonmdrivbug üß日z☃"))
@example("unbridged riverboats 日本 naïve")
def test_no_word_becomes_unknown(text: str) -> None:
    trimmed = trim(word_pieces(), CORPUS[:1])
    assert len(trimmed.kept) < word_pieces().get_vocab_size()
    before, after = word_pieces().encode(text), trimmed.tokenizer.encode(text)
    assert after.tokens.count("[UNK]") == before.tokens.count("[UNK]")
    assert {trimmed.tokenizer.token_to_id(token) for token in after.tokens} == set(after.ids)


def test_special_tokens_of_a_pair_follow() -> None:
    trimmed = trim(word_pieces(), ["the cat"], keep=[0])
    found = trimmed.tokenizer.encode("the cat", "the cat")
    assert found.tokens == ["[CLS]", "the", "cat", "[SEP]", "the", "cat", "[SEP]"]
    assert trimmed.kept[found.ids].tolist() == word_pieces().encode("the cat", "the cat").ids


# --- ids elsewhere in the tokenizer ---------------------------------------------------------


@every_kind
def test_added_tokens_and_the_start_token_survive(kind: str) -> None:
    trimmed = trimmed_by_corpus(kind)
    assert trimmed.tokenizer.encode("the cat").tokens[0] == "<s>"
    assert trimmed.tokenizer.token_to_id("<pad>") is not None
    assert trimmed.tokenizer.decode(trimmed.tokenizer.encode("cat").ids) == "cat"  # not special


def test_a_sequence_with_a_start_token_survives_with_its_new_id() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<late>"])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing(
                single="<late> $A", special_tokens=[("<late>", tokenizer.token_to_id("<late>"))]
            ),
        ]
    )
    trimmed = trim(tokenizer, ["cats"])
    first = trimmed.tokenizer.encode("zebra").ids[0]
    assert first == trimmed.tokenizer.token_to_id("<late>") == len(trimmed.kept) - 1
    assert trimmed.kept[first] == tokenizer.token_to_id("<late>")


@pytest.mark.parametrize("made", [processors.RobertaProcessing, processors.BertProcessing])
def test_inserted_ids_of_pair_processors_follow(made: Any) -> None:
    tokenizer = byte_level()
    inserted = [(token, tokenizer.token_to_id(token)) for token in ("Ġriver", "<end>")]
    tokenizer.post_processor = made(*inserted)
    trimmed = trim(tokenizer, ["cats"])
    check_same(tokenizer, trimmed, "cats")
    assert trimmed.tokenizer.token_to_id("Ġriver") is not None  # kept although no text has it


def test_padding_goes_and_truncation_hides_no_token() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<late>"])
    late = tokenizer.token_to_id("<late>")
    tokenizer.enable_padding(pad_id=late, pad_token="<late>", length=12)
    tokenizer.enable_truncation(2)
    trimmed = trim(tokenizer, ["cats sat on the bridge"])
    assert late in trimmed.kept
    assert len(trimmed.tokenizer.encode("cats").ids) < 12
    check_same(tokenizer, trimmed, "cats sat on the bridge")


def test_ids_to_keep_stay_and_unknown_ones_are_an_error() -> None:
    tokenizer = byte_level()
    river = tokenizer.token_to_id("Ġriver")
    assert river not in trim(tokenizer, ["cats"]).kept
    assert river in trim(tokenizer, ["cats"], keep=[river]).kept
    with pytest.raises(InputError, match="token id 9999"):
        trim(tokenizer, ["cats"], keep=[9999])


def test_ids_with_gaps_are_refused() -> None:
    """Such a tokenizer gives its added token the id of another token."""
    spec = json.loads(byte_level().to_str())
    vocab = spec["model"]["vocab"]
    spec["model"]["vocab"] = {token: at + 9 * (at > 99) for token, at in vocab.items()}
    with pytest.raises(InputError, match="gaps or doubles"):
        trim(Tokenizer.from_str(json.dumps(spec)), ["cats"])


def test_added_words_match_as_before() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("new word", lstrip=True, single_word=True, normalized=True)])
    trimmed = trim(tokenizer, ["cats cats"])
    check_same(tokenizer, trimmed, "cats  new word cats")
    added = trimmed.tokenizer.token_to_id("new word")
    assert added in trimmed.tokenizer.encode("cats  new word cats").ids


def test_the_old_form_of_merges_is_understood() -> None:
    spec = json.loads(byte_level().to_str())
    spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
    old_form = Tokenizer.from_str(json.dumps(spec))
    assert (
        trim(old_form, CORPUS).tokenizer.to_str()
        == trimmed_by_corpus("byte_level").tokenizer.to_str()
    )


def test_the_given_tokenizer_is_left_as_it_was() -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(5)
    before = tokenizer.to_str()
    trim(tokenizer, CORPUS)
    assert tokenizer.to_str() == before


def test_a_word_without_merges_is_kept_as_a_word() -> None:
    trimmed = trim(every_pair(), ["boat under"])
    assert "Ġunder" in trimmed.tokenizer.encode("boat under").tokens
    check_same(every_pair(), trimmed, "boat under")


# --- what cannot be trimmed -----------------------------------------------------------------


def word_level() -> Tokenizer:
    return Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))


def letters_missing() -> Tokenizer:
    """Words with b inside are known by one piece only."""
    vocab = {"[UNK]": 0, "a": 1, "ab": 2, "##c": 3}
    return Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))


def character_bpe() -> Tokenizer:
    return Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))


def half_a_fallback() -> Tokenizer:
    vocab = {piece: number for number, piece in enumerate(BYTE_PIECES[:128])}
    return Tokenizer(models.BPE(vocab, [], byte_fallback=True))


def plain_unigram() -> Tokenizer:
    return Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))


def unigram_without_unknown() -> Tokenizer:
    return Tokenizer(models.Unigram([(piece, 0.0) for piece in BYTE_PIECES], byte_fallback=True))


def dropout() -> Tokenizer:
    spec = json.loads(byte_level().to_str())
    spec["model"]["dropout"] = 0.1
    return Tokenizer.from_str(json.dumps(spec))


def marked_word_ends() -> Tokenizer:
    spec = json.loads(byte_level().to_str())
    spec["model"].update(end_of_word_suffix="</w>", merges=[])
    return Tokenizer.from_str(json.dumps(spec))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (word_level, "its model is WordLevel"),
        (letters_missing, "its piece 'ab' have no pieces of their own"),
        (character_bpe, "BPE without byte-level"),
        (half_a_fallback, "full set of byte-fallback"),
        (plain_unigram, "Unigram without byte-level"),
        (unigram_without_unknown, "without an unknown token"),
        (dropout, "dropout"),
        (marked_word_ends, "word ends"),
    ],
)
def test_a_tokenizer_without_a_safe_fallback_is_refused(
    made: Callable[[], Tokenizer], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        trim(made(), ["a"])


# --- real tokenizers ------------------------------------------------------------------------

MODELS = Path.home() / ".cache" / "edgecd-models"
PAIRS = Path(__file__).parents[3] / "shared" / "data" / "mnli"


def prompts(split: str, limit: int) -> list[str]:
    with (PAIRS / f"{split}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(limit), strict=False)]
    return [f"{row['premise']}\nQuestion: {row['hypothesis']} True or False?" for row in rows]


def test_a_real_tokenizer_of_word_pieces_loses_most_of_its_vocabulary() -> None:
    file = MODELS / "minilm-l6" / "tokenizer.json"
    if not file.is_file():
        pytest.skip("needs the tokenizer of minilm-l6 in ~/.cache/edgecd-models")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    trimmed = trim(tokenizer, CORPUS)
    assert len(trimmed.kept) < tokenizer.get_vocab_size() / 10
    for text in CORPUS:
        check_same(tokenizer, trimmed, text)
    for text in LEARNED:
        assert "[UNK]" not in trimmed.tokenizer.encode(text).tokens


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-0.5b"])
def test_a_real_tokenizer_loses_most_of_its_vocabulary(name: str) -> None:
    file = MODELS / name / "tokenizer.json"
    if not file.is_file():
        pytest.skip(f"needs the tokenizer of {name} in ~/.cache/edgecd-models")
    if not PAIRS.is_dir():
        pytest.skip("needs ../shared/data/mnli beside the repository")
    tokenizer = Tokenizer.from_file(str(file))
    corpus = prompts("train", 500)
    trimmed = trim(tokenizer, corpus)
    assert len(trimmed.kept) < tokenizer.get_vocab_size() / 4
    for text in corpus:
        check_same(tokenizer, trimmed, text)
    for text in [*prompts("validation", 300), "Žluťoučký kůň 🐎 пьёт воду 中文\r\n\tif x:"]:
        check_fallback(tokenizer, trimmed, text)
