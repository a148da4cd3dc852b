"""The embedded demo task: balanced, reproducible messages whose splits do not leak."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.tasks.task import load_task
from edgecd.tasks.tickets.messages import LABELS, tickets
from edgecd.tasks.tickets.phrases import IN_DOMAIN, PhraseBook
from edgecd.tasks.tickets.phrases_ood import OUT_OF_DOMAIN

SPLITS = ("train", "validation", "test", "ood")
REPOSITORY = Path(__file__).resolve().parents[2]
FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        """about after again all and another any are back because been before between both can could
        did does down for from get got had has have her here how into its just like may more much
        must need new not nothing off old one only other our out over own please same should since
        some somebody something somewhere still such take than that the their them then there they
        this through two under until very was were what when where which while who whom whose why
        will with without would yet you your""",
    )
)


@given(split=st.sampled_from(SPLITS), count=st.integers(0, 120), seed=st.integers(-(2**40), 2**40))
@settings(max_examples=25, deadline=None)
def test_rows_are_balanced_and_reproducible(split: str, count: int, seed: int) -> None:
    rows = tickets(split, count, seed)
    assert rows == tickets(split, count, seed)
    assert rows == tickets(split, count + 7, seed)[:count]
    assert [row["id"] for row in rows] == [f"{split}-{i:06d}" for i in range(count)]
    per_label = Counter(row["label"] for row in rows)
    assert max(per_label.values(), default=0) - min(per_label[name] for name in LABELS) <= 1


def test_rows_are_shuffled_and_depend_on_the_seed() -> None:
    first, second = tickets("train", 60, seed=0), tickets("train", 60, seed=1)
    assert [row["label"] for row in first] != [row["label"] for row in second]
    shared = {row["text"] for row in first} & {row["text"] for row in second}
    assert len(shared) < 10  # seeds may repeat a short message, not a sample
    assert [row["label"] for row in first] != list(LABELS) * 10


def test_messages_read_like_messages() -> None:
    for split in SPLITS:
        for text in (row["text"] for row in tickets(split, 600)):
            assert 8 <= len(text.split()) <= 40, text
            assert 1 <= len(re.findall(r"[.?](?:\s|$)|[^.?]$", text)) <= 3, text
            assert not re.search(r"[{}\[\]|@\n]|\s\s|^\s|\s$", text), text


def test_no_text_is_in_two_splits_whatever_the_seeds() -> None:
    texts = [
        {row["text"].lower() for row in tickets(split, 3000, seed)}
        for seed, split in enumerate(("train", "validation", "test"))
    ]
    assert [len(split) for split in texts] == [3000, 3000, 3000]
    assert not any(one & other for one, other in combinations(texts, 2))


def test_ood_texts_are_unique() -> None:
    assert len({row["text"].lower() for row in tickets("ood", 1200)}) == 1200


def test_the_same_rows_in_every_process() -> None:
    code = (
        "from edgecd.tasks.tickets.messages import tickets;"
        "from edgecd.files import fingerprint;"
        "print(fingerprint(tickets('train', 60), tickets('ood', 60)))"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert len(prints) == 1


@pytest.mark.parametrize(("book", "least"), [(IN_DOMAIN, 25), (OUT_OF_DOMAIN, 12)])
def test_every_team_has_enough_different_frames(book: PhraseBook, least: int) -> None:
    assert tuple(book.frames) == LABELS
    frames = [frame for of_label in book.frames.values() for frame in of_label]
    assert len(set(frames)) == len(frames)
    assert min(len(set(of_label)) for of_label in book.frames.values()) >= least


def phrases(book: PhraseBook) -> set[str]:
    """Every phrase and slot value of the book, without slots, options and digits."""
    every = [*book.greetings, *book.contexts, *book.closings]
    every += [frame for of_label in book.frames.values() for frame in of_label]
    plain = {" ".join(re.sub(r"\{\w+\}|[^a-z ]", " ", one.lower()).split()) for one in every}
    return plain | {value.lower() for values in book.slots.values() for value in values}


def content_words(book: PhraseBook) -> set[str]:
    words = {word for phrase in phrases(book) for word in re.findall(r"[a-z]{3,}", phrase)}
    return words - FUNCTION_WORDS


def test_ood_shares_no_phrase_and_few_words_with_training() -> None:
    assert not phrases(IN_DOMAIN) & phrases(OUT_OF_DOMAIN)
    ood = content_words(OUT_OF_DOMAIN)
    shared = ood & content_words(IN_DOMAIN)
    assert len(shared) / len(ood) < 0.2, sorted(shared)


def test_both_task_files_ask_the_same_question() -> None:
    task, ood = load_task("tickets"), load_task("tickets-ood")
    assert task.template == ood.template
    assert task.labels == LABELS
    assert task.template.tail.strip(), "a label word brings its own leading space"


@pytest.mark.parametrize(("split", "count"), [("dev", 6), ("train", -1)])
def test_what_cannot_be_made_is_refused(split: str, count: int) -> None:
    with pytest.raises(InputError, match=r"^tickets: "):
        tickets(split, count)


def test_running_out_of_messages_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecd.tasks.tickets.messages.MAX_TRIES", 0)
    with pytest.raises(InputError, match="ask for fewer"):
        tickets("test", 1)
