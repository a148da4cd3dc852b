"""Labels as data spell them: numbers, truths and blanks, and names that are nearly a task's."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgecd.errors import InputError, nearest, shown

# How alike a label must be to one of the task's to be taken for a mistake.
_ALIKE = 0.75
_COMPARED = 200  # unknown labels that are compared with the task's
_NAMED = 40  # labels that a message names
_LONGEST = 256  # characters of a label that is compared
_WHOLE = re.compile(r"-?\d{1,15}(\.0+)?")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


@dataclass
class Unknown:
    """Rows whose label is none of the task's: how many, and where the first one is."""

    where: str
    count: int = 0


@dataclass(frozen=True)
class Spellings:
    """How a task's labels are written in data.

    `mapped` are the spellings of [data.label_map], `dropped` those whose rows are left out
    without a word.
    """

    labels: Collection[str]
    mapped: Mapping[str, str] = field(default_factory=dict)
    dropped: Collection[str] = ()

    def read(self, value: Any) -> tuple[str, str] | None:
        """(the label as it is spelt, the label that it means); None for a label that is missing.

        1 and 1.0 mean one label, and a truth is `true` or `false`, in any case of letters that
        the task has. A label that is unknown means itself. Raises InputError for what is neither
        a name nor a number.
        """
        if isinstance(value, str) and value in self.labels and value not in self.mapped:
            return value, value
        ways = spellings(value)
        if not ways:
            return None
        spelt = value if isinstance(value, str) else ways[0]
        for way in ways:
            if way in self.mapped:
                return spelt, self.mapped[way]
            if way in self.labels:
                return spelt, way
        return spelt, ways[0]

    def mistakes(self, unknown: Mapping[str, Unknown]) -> dict[str, str]:
        """Unknown label -> the task's that it is nearly; those that are like none are not there.

        Labels of no interest are left out of a task (MNLI's neutral); one that looks like the
        task's is a mistake.
        """
        plain = {plain_label(label): label for label in self.labels}
        found = {}
        for label in list(unknown)[:_COMPARED]:
            if label in self.dropped or len(label) > _LONGEST:
                continue
            near = plain.get(plain_label(label))
            if near is None and (close := nearest(plain_label(label), plain, _ALIKE)) is not None:
                near = plain[close]
            if near is not None:
                found[label] = near
        return found

    def report(self, mistakes: Mapping[str, str], unknown: Mapping[str, Unknown]) -> str:
        """What to say of labels that are nearly the task's: each with its rows, and the cure."""
        named = list(mistakes)[:_NAMED]
        told = [
            shown(label) + f" ({rows(unknown[label].count)})" * (len(mistakes) > 1)
            for label in named
        ]
        if more := len(mistakes) - len(named):
            told.append(f"{more} more")
        pairs = [
            f"{json.dumps(label, ensure_ascii=False)} = {json.dumps(meant, ensure_ascii=False)}"
            for label, meant in {**self.mapped, **{one: mistakes[one] for one in named}}.items()
        ]
        place = "in place of its label_map" if self.mapped else "in [data]"
        first = next(iter(mistakes))
        guess = f"; did you mean {shown(mistakes[first])}?" if len(mistakes) == 1 else "."
        are = "label" if len(mistakes) == 1 else "labels"
        return (
            f"{are} {', '.join(told)} {'is' if len(mistakes) == 1 else 'are'} not one of "
            f"{_some(self.labels)}{guess} Correct the data, or write {place}: label_map = "
            f"{{ {', '.join(pairs)} }}; or leave such rows out: drop = "
            f"[{', '.join(json.dumps(one, ensure_ascii=False) for one in named)}]"
        )


def spellings(value: Any) -> tuple[str, ...]:
    """The ways to write a label, the usual one first; none of a missing one (null, NaN, blanks).

    Raises InputError for what is neither a name nor a number.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ()
    if isinstance(value, bool):
        name = str(value)
        return name.lower(), name, name.upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, float) and math.isfinite(value):
        return (repr(value),)
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        raise InputError(f"the label is {shown(value)}: neither a name nor a number")
    if not value.strip():
        return ()
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"the label {shown(value)} is not valid Unicode text")
    if _WHOLE.fullmatch(value):
        whole = value.partition(".")[0]
        return tuple(dict.fromkeys((whole, value, f"{whole}.0")))
    return (value,)


def plainly(label: str) -> str:
    """A label as a message says it: as it is, or quoted where that would mislead."""
    return (
        label
        if label.isprintable() and label == label.strip() and len(label) < 60
        else shown(label)
    )


def rows(count: int) -> str:
    """So many rows, in words."""
    return f"{count:,} row{'s' * (count != 1)}"


def plain_label(label: str) -> str:
    """A label without what people do not see: case, outer and doubled blanks, forms of letters."""
    text = unicodedata.normalize("NFKC", label[:_LONGEST].translate(_INVISIBLE))
    return " ".join(text.split()).casefold()


def _some(labels: Collection[str]) -> str:
    shown_ones = ", ".join(plainly(label) for label in list(labels)[:_NAMED])
    return shown_ones + (f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else "")
