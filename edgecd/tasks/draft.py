"""What a file of rows may be a task about: which columns are texts, which one the label.

Guesses from names and contents; where two are as likely as each other, it says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecd.errors import EdgecdError, InputError, suggest
from edgecd.tasks.labels import spellings

TEXT_NAMES = (
    *("text", "texts", "sentence", "message", "content", "body", "review", "comment", "question"),
    *("query", "utterance", "tweet", "post", "document", "article", "description", "input"),
    *("prompt", "ticket", "headline", "title", "subject", "abstract", "summary"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "y"),
    *("tag", "gold", "output", "answer", "annotation", "type", "kind", "department", "team"),
)
# Texts that belong together, in the order in which they are read.
TOGETHER = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("title", "body"),
    ("title", "text"),
    ("title", "content"),
    ("title", "description"),
    ("subject", "body"),
    ("subject", "message"),
)
_NO_TEXT = re.compile(
    r"(^|_)(id|ids|idx|index|uuid|guid|url|link|date|time|timestamp|email|name)($|_)"
)
MOST_LABELS = 200
_LONGEST_LABEL = 60  # characters, on average


@dataclass(frozen=True)
class Column:
    """What a column holds: values that are there, different ones, characters and words on average.

    `labels` are the different values as labels spell them; 0 where some are none.
    """

    name: str
    filled: int
    different: int
    labels: int
    characters: float
    words: float
    is_text: bool

    @property
    def plain(self) -> str:
        """Its name as it is compared with usual ones."""
        return plain_name(self.name)

    @property
    def may_be_label(self) -> bool:
        """Whether few short values come again and again, or its name says that it is the label."""
        if not 2 <= self.labels <= MOST_LABELS or self.characters > _LONGEST_LABEL:
            return False
        return self.labels <= self.filled / (1.3 if self.plain in LABEL_NAMES else 2)

    @property
    def may_be_text(self) -> bool:
        """Whether it holds texts that differ."""
        if not self.is_text or _NO_TEXT.search(self.plain):
            return False
        return self.plain in TEXT_NAMES or (self.words >= 2 and self.different > self.filled / 3)


@dataclass(frozen=True)
class Choice:
    """Columns in the order of likelihood; `sure` when the first one is it."""

    columns: tuple[str, ...]
    sure: bool


def plain_name(name: str) -> str:
    """A column's name in small letters, digits and underscores."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"\W+", "_", apart).strip("_").lower()


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """What each column of these rows holds, in their order."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column(name, [row.get(name) for row in rows]) for name in names}


def _column(name: str, values: Sequence[Any]) -> Column:
    there = [value for value in values if not is_blank(value)]
    texts = [value if isinstance(value, str) else str(value) for value in there]
    count = max(1, len(texts))
    try:
        labels = len({spellings(value)[0].strip() for value in there})
    except (EdgecdError, IndexError):
        labels = 0
    return Column(
        name=name,
        filled=len(there),
        different=len(set(texts)),
        labels=labels,
        characters=sum(map(len, texts)) / count,
        words=sum(len(text.split()) for text in texts) / count,
        is_text=bool(there) and all(isinstance(value, str) for value in there),
    )


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def choose_label(columns: Mapping[str, Column], texts: Sequence[str] = ()) -> Choice:
    """The column of the labels; `texts` are known to be others. Empty where none can be it."""
    able = [one for one in columns.values() if one.may_be_label and one.name not in texts]
    named = [one for one in able if one.plain in LABEL_NAMES]
    named.sort(key=lambda one: LABEL_NAMES.index(one.plain))
    others = sorted((one for one in able if one not in named), key=lambda one: one.labels)
    sure = len(named) == 1 or (not named and len(others) == 1)
    return Choice(tuple(one.name for one in (*named, *others)), sure)


def choose_texts(columns: Mapping[str, Column], label: str | None) -> Choice:
    """The column of the texts, or those that belong together (all of them, then, and sure)."""
    able = {one.plain: one for one in columns.values() if one.may_be_text and one.name != label}
    for together in TOGETHER:
        if set(together) <= set(able):
            return Choice(tuple(able[name].name for name in together), True)
    named = sorted(able.keys() & set(TEXT_NAMES), key=TEXT_NAMES.index)
    others = sorted(able.keys() - set(TEXT_NAMES), key=lambda name: -able[name].characters)
    sure = len(named) == 1 or (not named and len(others) == 1)
    return Choice(tuple(able[name].name for name in (*named, *others)), sure)


def check_given(columns: Mapping[str, Column], names: Sequence[str], flag: str) -> None:
    """Raise InputError, with the nearest, for a column that is not there."""
    for name in names:
        if name not in columns:
            raise InputError(
                f"{flag} {name}: no such column (there are: {', '.join(columns)})"
                f"{suggest(name, columns)}"
            )


def refuse_header_of_data(columns: Mapping[str, Column], values: Sequence[Any], label: str) -> None:
    """Raise InputError where the names of the columns look like the first row of the data."""
    labels = {str(value).strip().casefold() for value in values if not is_blank(value)}
    is_value = label.strip().casefold() in labels
    is_sentence = any(len(one.name.split()) > 8 for one in columns.values())
    if is_value or is_sentence:
        raise InputError(
            f"the first line seems to be data, not names of columns ({', '.join(columns)[:120]}): "
            "write a line such as text,label above it"
        )
