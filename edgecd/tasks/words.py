"""A word for each label, one token for every model that reads prompts, and a template for both."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecd.errors import InputError
from edgecd.tasks.draft import LABEL_NAMES, plain_name
from edgecd.tasks.encoding import word_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FEELINGS = {"positive", "negative", "neutral", "mixed", "pos", "neg"}
_INFERENCE = {"entailment": " True", "neutral": " Neither", "contradiction": " False"}
_AS_CONTRADICTION = ("not_entailment", "non_entailment")
# What many data sets write short, or in two words of which others have one.
_SPOKEN = {
    "pos": "positive",
    "neg": "negative",
    "very positive": "great",
    "very negative": "terrible",
}
_PLAIN_TEXTS = ("text", "texts", "input", "content", "document", "prompt")
_PLAIN_LABELS = ("label", "labels", "class", "target", "y", "tag", "gold", "output", "annotation")
_LETTERS = (*string.ascii_uppercase, *string.digits, *string.ascii_lowercase)
# With more labels than this a list of what their letters mean costs more than it helps.
_EXPLAINED = 8


@dataclass(frozen=True)
class Wording:
    """A template and a word for each label; `letters` are labels whose word is only a letter.

    `checked` are words that are known to be one token.
    """

    template: str
    words: Mapping[str, str]
    letters: tuple[str, ...]
    checked: bool


def propose(
    labels: Sequence[str], fields: Sequence[str], label_name: str, tokenizers: Sequence[Tokenizer]
) -> Wording:
    """A template over these fields, and words that are one token in each of the tokenizers.

    A label's word is its name, a word of it, or else a letter or digit. Without tokenizers the
    words are guessed. Raises InputError where there are more labels without a word than letters.
    """
    known = _inference_words(labels, fields)
    template = _template(fields, f"{_noun(label_name, labels)}:", known or {})
    if known is None and (known := _yes_and_no(labels)) is not None:
        template = _template(fields, f"{_said(plain_name(next(iter(known))))}?", {})
    tail = template[template.rindex("}") + 1 :]
    words: dict[str, str] = {}
    letters: list[str] = []
    fits = _Fits(tokenizers, tail)
    ways = {label: list(_ways(label, labels, known)) for label in labels}
    # Whole names first, so that no label's part takes the word of another.
    for turn in range(max(map(len, ways.values()))):
        for label in labels:
            if label not in words and turn < len(ways[label]) and fits.take(ways[label][turn]):
                words[label] = ways[label][turn]
    left = list(_LETTERS)
    for label in labels:
        if label not in words:
            forms = ((one, form) for one in left for form in (f" {one}", one))
            found = next((pair for pair in forms if fits.take(pair[1], as_letter=True)), None)
            if found is None:
                raise InputError(
                    f"no word of one token is left for label {label!r}: write the words of "
                    "[labels] yourself, or join some labels"
                )
            left.remove(found[0])
            words[label] = found[1]
            letters.append(label)
    if letters and len(letters) <= _EXPLAINED:
        meanings = ", ".join(f"{words[label].strip()} for {_escaped(label)}" for label in letters)
        template = f"Answer {meanings}.\n{template}"
    ordered = {label: words[label] for label in labels}
    return Wording(template, ordered, tuple(letters), bool(tokenizers))


class _Fits:
    """Which words are still free, and one token of their own after the template's tail."""

    def __init__(self, tokenizers: Sequence[Tokenizer], tail: str) -> None:
        self._tokenizers, self._tail = tokenizers, tail
        self._taken: set[tuple[int, ...] | str] = set()

    def take(self, word: str, as_letter: bool = False) -> bool:
        """Take the word if it can be had; of two that differ by case alone, only as letters."""
        if not self._tokenizers:
            if not re.fullmatch(r" [^\W_]+", word) or word.strip().casefold() in self._taken:
                return False
            self._taken.add(word.strip().casefold())
            return True
        found = [word_tokens(one, self._tail, word) for one in self._tokenizers]
        if any(len(tokens) != 1 for tokens in found):
            return False
        marks: set[tuple[int, ...] | str] = {(place, *one) for place, one in enumerate(found)}
        if not as_letter:
            marks.add(word.strip().casefold())
        if marks & self._taken:
            return False
        self._taken |= marks
        return True


def _ways(label: str, labels: Sequence[str], inference: Mapping[str, str] | None) -> Iterator[str]:
    """Words for a label, the best first."""
    if inference is not None:
        yield inference[label]
        return
    parts = _parts(label)
    spoken = _SPOKEN.get(label.casefold(), " ".join(parts))
    for name in dict.fromkeys((label.strip(), spoken, spoken.lower(), spoken.capitalize())):
        yield f" {name}"
        yield name
    others = {part for other in labels if other != label for part in _parts(other)}
    # Where each label has a number (1 star, 2 stars), it tells them apart best.
    numbered = all(any(map(str.isdigit, _parts(other))) for other in labels)
    for part in sorted(
        set(parts) - others, key=lambda part: (not (numbered and part.isdigit()), -len(part), part)
    ):
        if len(part) > 2 or part.isdigit():
            yield from dict.fromkeys((f" {part}", part, f" {part.capitalize()}"))


def _parts(label: str) -> list[str]:
    return [part for part in plain_name(label).split("_") if part]


def _inference_words(labels: Sequence[str], fields: Sequence[str]) -> dict[str, str] | None:
    """The literature's words, where the labels are those of natural language inference."""
    found = {}
    for label in labels:
        name = plain_name(label)
        name = "contradiction" if name in _AS_CONTRADICTION else name
        if name not in _INFERENCE or len(fields) != 2:
            return None
        found[label] = _INFERENCE[name]
    return found if len(set(found.values())) == len(labels) else None


def _yes_and_no(labels: Sequence[str]) -> dict[str, str] | None:
    """Words for a label and its opposite, as `equivalent` and `not_equivalent`."""
    if len(labels) != 2:
        return None
    for one, other in (labels, labels[::-1]):
        if plain_name(other) in [f"{no}_{plain_name(one)}" for no in ("not", "non", "no")]:
            return {one: " yes", other: " no"}
    return None


def _template(fields: Sequence[str], end: str, inference: Mapping[str, str]) -> str:
    if inference:  # as in EleutherAI's evaluation harness
        first, second = fields
        ways = "True or False" if len(inference) == 2 else "True, False or Neither"
        return f"{{{first}}}\nQuestion: {{{second}}} {ways}?\nAnswer:"
    lines = [f"{'Text' if name in _PLAIN_TEXTS else _said(name)}: {{{name}}}" for name in fields]
    return "\n".join([*lines, end])


def _noun(label_name: str, labels: Sequence[str]) -> str:
    """What the label is called in a prompt."""
    plain = plain_name(label_name)
    if len(re.sub(r"[\d_]", "", plain)) > 2 and plain not in _PLAIN_LABELS:
        return _said(plain)
    if {label.casefold() for label in labels} <= _FEELINGS:
        return "Sentiment"
    return "Category"


def _said(name: str) -> str:
    text = " ".join(part for part in name.split("_") if part)
    return text[:1].upper() + text[1:]


def _escaped(label: str) -> str:
    return " ".join(label.split()).replace("{", "{{").replace("}", "}}")


def field_names(columns: Sequence[str]) -> dict[str, str]:
    """Column -> the name of its place in a template, each once and none of them `label`."""
    found: dict[str, str] = {}
    for number, column in enumerate(columns, start=1):
        name = plain_name(column)
        if not name.isidentifier() or name in (*LABEL_NAMES[:2], "id") or name in found.values():
            name = "text" if "text" not in found.values() else f"text_{number}"
        found[column] = name
    return found
