"""Prompt templates: pure text, the same code for teacher, student and device."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgecd.errors import InputError

# Demonstrations are separated by a blank line (Mosbach et al., arXiv 2305.16938).
SEPARATOR = "\n\n"
Form = Literal["prompt", "text", "pair"]
FORMS: tuple[Form, ...] = ("prompt", "text", "pair")


@dataclass(frozen=True)
class PromptTemplate:
    """A pattern with `{field}` places, and its verbalizer (label -> the word that follows it).

    `form` says what a model reads of an input: the whole `prompt`, or, as encoders do, the fields
    alone, as one `text` or as a `pair` (the first field, then all others).
    """

    text: str
    verbalizer: Mapping[str, str]
    form: Form = "prompt"

    def __post_init__(self) -> None:
        parse(self.text)
        words = list(self.verbalizer.values())
        if len(words) < 2:
            raise InputError("a task needs at least two labels")
        if any(not word.strip() for word in words):
            raise InputError("a label's word in the verbalizer is empty")
        if len(set(words)) < len(words):
            twice = next(word for word in words if words.count(word) > 1)
            raise InputError(
                f"two labels share the word {twice!r}: give each label a word of its own"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The task's labels, in the order of the verbalizer."""
        return tuple(self.verbalizer)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the template's places, in order of appearance, each once."""
        return tuple(dict.fromkeys(field for _, field in parse(self.text) if field is not None))

    @property
    def tail(self) -> str:
        """The literal text after the last place: what the label's word follows."""
        literal, field = parse(self.text)[-1]
        return literal if field is None else ""

    @property
    def without_pattern(self) -> PromptTemplate:
        """The same fields and labels for a model that reads a text or a pair of texts."""
        return replace(self, form="text" if len(self.fields) == 1 else "pair")

    def segments(self, fields: Mapping[str, str]) -> tuple[str, str | None]:
        """The texts that an encoder reads; InputError when a field is missing."""
        first, *others = (value_of(fields, name) for name in self.fields)
        return first, "\n".join(others) if others else None

    def render(self, fields: Mapping[str, str]) -> str:
        """The prompt of one input, without its answer; InputError when a field is missing."""
        return "".join(
            literal + (value_of(fields, field) if field is not None else "")
            for literal, field in parse(self.text)
        )


def parse(template: str) -> list[tuple[str, str | None]]:
    """Split a template into (literal, field) pairs; the last field is None for a literal tail.

    `{{` and `}}` stand for braces. Only plain `{name}` places are allowed, nothing that could
    reach into an object. Raises InputError with the place that is wrong.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as bad:
        raise InputError(f"template {template!r}: {bad} (write {{{{ for a literal brace)") from None
    pieces: list[tuple[str, str | None]] = []
    for literal, field, spec, conversion in parts:
        if field is not None and (not field.isidentifier() or spec or conversion):
            raise InputError(
                f"template {template!r}: a place must be a plain name such as {{text}}, "
                f"not {{{field}}}"
            )
        if pieces and pieces[-1][1] is None:  # an escaped brace ends a literal early
            literal = pieces.pop()[0] + literal
        pieces.append((literal, field))
    if all(field is None for _, field in pieces):
        raise InputError(f"template {template!r} has no place for the input, such as {{text}}")
    return pieces


def value_of(fields: Mapping[str, str], name: str) -> str:
    """The text of one field; InputError when it is missing or not text."""
    value = fields.get(name)
    if not isinstance(value, str):
        has = ", ".join(fields) or "nothing"
        problem = "is not text" if name in fields else f"is missing (the input has {has})"
        raise InputError(f"field {name!r} of the template {problem}")
    return value


# The literature's patterns for natural language inference: text, words of (entailment,
# neutral, contradiction), and the same for two classes. Sources: arXiv 2305.16938, GPT-3,
# EleutherAI's evaluation harness.
_NLI_PATTERNS = {
    "minimal": (
        "{premise} {hypothesis} ?",
        "{premise} {hypothesis} ?",
        (" Yes", " Maybe", " No"),
    ),
    "gpt-3": (
        "{premise} question: {hypothesis} Yes or No? answer:",
        "{premise} question: {hypothesis} Yes, No, or Maybe? answer:",
        (" Yes", " Maybe", " No"),
    ),
    "eval-harness": (
        "{premise}\nQuestion: {hypothesis} True or False?\nAnswer:",
        "{premise}\nQuestion: {hypothesis} True, False or Neither?\nAnswer:",
        (" True", " Neither", " False"),
    ),
}
NLI_PATTERNS = tuple(_NLI_PATTERNS)


def nli_pattern(name: str, labels: Sequence[str]) -> PromptTemplate:
    """One of the literature's NLI patterns for `labels` (two- or three-way).

    Raises InputError for an unknown pattern or for labels that are not NLI's.
    """
    words = dict.fromkeys(("entailment", "neutral", "contradiction"), "")
    if name not in _NLI_PATTERNS:
        raise InputError(f"unknown pattern {name!r}: choose one of {', '.join(_NLI_PATTERNS)}")
    if not set(labels) <= set(words):
        raise InputError(
            f"pattern {name!r} is for tasks with the labels {', '.join(words)}, "
            f"not {', '.join(labels)}"
        )
    two_way, three_way, spoken = _NLI_PATTERNS[name]
    words = dict(zip(words, spoken, strict=True))
    return PromptTemplate(
        three_way if "neutral" in labels else two_way, {label: words[label] for label in labels}
    )
