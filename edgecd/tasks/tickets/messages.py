"""The embedded demo task: which of six teams should answer a customer's message?

Messages are made by code from phrase tables, so the demo needs no data and no network. `train`,
`validation` and `test` share their phrasings; `ood` has its own, with its own words and products.
"""

from __future__ import annotations

import hashlib
import random
import re

from edgecd.errors import InputError
from edgecd.tasks.tickets.phrases import IN_DOMAIN, PhraseBook
from edgecd.tasks.tickets.phrases_ood import OUT_OF_DOMAIN

LABELS: tuple[str, ...] = ("billing", "shipping", "returns", "account", "technical", "sales")

# Share of the messages (in tenths, by hash) that each in-domain split owns.
SPLIT_TENTHS = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}
SPLITS = (*SPLIT_TENTHS, "ood")
MIN_WORDS, MAX_WORDS = 8, 40
MAX_TRIES = 1000
# Slot -> the slot whose values it shares: a second product, never the same as the first.
SECOND_OF = {"other": "product", "second": "item"}
KEEPS_CAPITAL = re.compile(r"(I|Bluetooth|GPS|PayPal|Royal)\b")
CONTRACTIONS = {
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "cannot": "can't",
    "will not": "won't",
    "could not": "couldn't",
    "I am": "I'm",
    "I have": "I've",
    "it is": "it's",
}


def tickets(split: str, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Make `count` rows `{"id", "text", "label"}` of a split: train, validation, test or ood.

    Rows come in shuffled rounds of one message per label, so every prefix is balanced and a larger
    count only adds rows. No text occurs twice in a split, nor, whatever the seeds, in two of
    train, validation and test. Raises InputError for an unknown split, a negative count, or more
    messages than the phrases can give.
    """
    if split not in SPLITS:
        raise InputError(f"tickets: split {split!r} is not one of {', '.join(SPLITS)}")
    if count < 0:
        raise InputError(f"tickets: count is {count}, and must be 0 or more")
    rng = random.Random(f"{split}/{seed}")  # a text seed: the same in every process
    seen: set[str] = set()
    rows: list[dict[str, str]] = []
    for index in range(count):
        if index % len(LABELS) == 0:
            turn = rng.sample(LABELS, len(LABELS))
        label = turn[index % len(LABELS)]
        text = _fresh_text(rng, split, label, seen)
        seen.add(text.lower())
        rows.append({"id": f"{split}-{index:06d}", "text": text, "label": label})
    return rows


def _fresh_text(rng: random.Random, split: str, label: str, seen: set[str]) -> str:
    """A message that belongs to the split, has a sensible length, and is not in `seen`."""
    book = OUT_OF_DOMAIN if split == "ood" else IN_DOMAIN
    for _ in range(MAX_TRIES):
        plain = _compose(rng, book, label)
        if not MIN_WORDS <= len(plain.split()) <= MAX_WORDS:
            continue
        if split != "ood" and _tenth(plain) not in SPLIT_TENTHS[split]:
            continue
        text = _untidy(rng, plain)
        if text.lower() not in seen:
            return text
    raise InputError(
        f"tickets: no new {label} message for split {split!r} after {len(seen)} rows; ask for fewer"
    )


def _compose(rng: random.Random, book: PhraseBook, label: str) -> str:
    """A tidy message of one to three sentences: the request, maybe a context, maybe a closing."""
    parts = [rng.choice(book.frames[label])]
    if rng.random() < 0.35:
        parts.insert(rng.choice((0, 0, 1)), rng.choice(book.contexts))
    if rng.random() < 0.35:
        parts.append(rng.choice(book.closings))
    text = _fill(rng, " ".join(parts), book.slots)
    if rng.random() < 0.4:
        text = f"{rng.choice(book.greetings)} {_lower_first(text)}"
    if rng.random() < 0.5:
        for long, short in CONTRACTIONS.items():
            text = re.sub(rf"\b{long}\b", short, text)
    return text


def _fill(rng: random.Random, phrase: str, slots: dict[str, tuple[str, ...]]) -> str:
    """Choose the options `[a|b]`, the values of `{slots}` (one a message) and the digits `@`."""
    phrase = re.sub(r"\[([^\]]*)\]", lambda found: rng.choice(found[1].split("|")), phrase)
    values = {name: rng.choice(options) for name, options in slots.items()}
    for second, first in SECOND_OF.items():
        if first in slots:
            values[second] = rng.choice([value for value in slots[first] if value != values[first]])
    return re.sub("@", lambda _: str(rng.randrange(10)), phrase.format(**values))


def _lower_first(text: str) -> str:
    """The text as it goes on after a greeting's comma."""
    return text if KEEPS_CAPITAL.match(text) else text[0].lower() + text[1:]


def _untidy(rng: random.Random, text: str) -> str:
    """Type the message as people do: slips of the finger, no capitals, no full stop."""
    words = text.split(" ")
    if rng.random() < 0.3:
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(len(words))
            words[at] = _slip(rng, words[at])
    text = " ".join(words)
    if rng.random() < 0.2:
        text = text.rstrip(".?")
    case = rng.random()
    return text.lower() if case < 0.15 else text.upper() if case < 0.17 else text


def _slip(rng: random.Random, word: str) -> str:
    """A long word with two neighbouring letters swapped, or with one letter typed twice."""
    if len(word) < 5 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 2)
    if rng.random() < 0.6:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


def _tenth(text: str) -> int:
    """The tenth (0 to 9) of all messages that a text is in, whatever its case and its slips.

    Each word counts as the set of its letters, which neither a swap nor a repetition changes; so
    an untidy copy of a training message cannot turn up in the test set.
    """
    letters = ["".join(sorted(set(word.strip(".?")))) for word in text.lower().split()]
    digest = hashlib.sha256(" ".join(letters).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 10
