"""Rows made ready for a task: labels spelt in one way, no empty or repeated texts, a test part."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecd.errors import InputError, shown
from edgecd.tasks.draft import MOST_LABELS, is_blank
from edgecd.tasks.labels import plain_label, rows, spellings

MOST_TEST = 2_000
_NAMED = 8
_FEWEST = 2  # examples of a label: one to learn from, one to test on

Row = dict[str, Any]


@dataclass(frozen=True)
class Cleaned:
    """Rows with the fields of a template and `label`, None where it is missing.

    `notes` say what was changed.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> dict[str, int]:
        """How many rows each label has, in the order of first appearance."""
        return dict(Counter(row["label"] for row in self.rows if row["label"] is not None))

    def of(self, labels: Collection[str]) -> Cleaned:
        """Without the rows of other labels."""
        others = [label for label in self.labels if label not in labels]
        if not others:
            return self
        told = ", ".join(shown(label) for label in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        kept = tuple(row for row in self.rows if row["label"] is None or row["label"] in labels)
        return Cleaned(kept, (*self.notes, f"labels of too few rows left out: {told}{more}"))


def label_names(values: Iterable[Any], column: str) -> dict[str, str]:
    """What each label is called, as most rows spell it, by what people see of it.

    Labels that differ by case or blanks only are one. Raises InputError, naming the value, for what
    is no label.
    """
    ways: dict[str, Counter[str]] = {}
    for value in values:
        if is_blank(value):
            continue
        try:
            name = spellings(value)[0].strip()
        except InputError as bad:
            raise InputError(f"the column {column!r}: {bad}") from None
        ways.setdefault(plain_label(name), Counter())[" ".join(name.split())] += 1
    return {key: spelt.most_common(1)[0][0] for key, spelt in ways.items()}


def clean(
    table: Sequence[Mapping[str, Any]],
    fields: Mapping[str, str],
    label_column: str,
    names: Mapping[str, str],
) -> Cleaned:
    """Make rows of a file ready; `fields` maps columns to fields, `names` is of `label_names`.

    Rows with an empty text and rows that repeat another are left out.
    """
    kept: list[Row] = []
    seen: set[tuple[Any, ...]] = set()
    empty = repeated = 0
    for row in table:
        texts = {field: row.get(column) for column, field in fields.items()}
        if any(is_blank(text) for text in texts.values()):
            empty += 1
            continue
        value = row.get(label_column)
        ready: Row = {field: str(text).strip() for field, text in texts.items()}
        ready["label"] = None if is_blank(value) else names[_key(value)]
        mark = tuple(ready.values())
        if mark in seen:
            repeated += 1
            continue
        seen.add(mark)
        kept.append(ready)
    notes = [f"{rows(empty)} without a text left out"] * bool(empty)
    notes += [f"{rows(repeated)} that repeat another left out"] * bool(repeated)
    notes += _merged([row.get(label_column) for row in table], names)
    unlabelled = sum(row["label"] is None for row in kept)
    notes += [f"{rows(unlabelled)} without a label kept, to distil on"] * bool(unlabelled)
    return Cleaned(tuple(kept), tuple(notes))


def usable_labels(cleaned: Cleaned, column: str) -> list[str]:
    """The labels that have enough rows; InputError for too few labels, or too many."""
    counts = cleaned.labels
    labels = [label for label, count in counts.items() if count >= _FEWEST]
    if not 2 <= len(labels) <= MOST_LABELS:
        raise InputError(
            f"the column {column!r} has {len(labels)} labels with {_FEWEST} rows or more (of "
            f"{len(counts)} in {rows(len(cleaned.rows))}), and a task has from 2 to {MOST_LABELS}: "
            "say which column holds the labels with --label-column, or mend it"
        )
    return labels


def split_off(cleaned: Sequence[Row], share: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """(rows to train on, rows to test on): so large a share of each label, at most 2,000 in all.

    At least one of each label goes either way; texts with two labels and rows without one are
    trained on. Seeded; both parts keep the order of the rows.
    """
    texts = Counter(_text(row) for row in cleaned)
    by_label: dict[str, list[int]] = {}
    for place, row in enumerate(cleaned):
        if row["label"] is not None and texts[_text(row)] == 1:
            by_label.setdefault(row["label"], []).append(place)
    total = sum(map(len, by_label.values()))
    share = min(share, MOST_TEST / max(1, total))
    chance = random.Random(f"edgecd test part {seed}")
    tested: set[int] = set()
    for places in by_label.values():
        if len(places) >= _FEWEST:
            count = min(max(1, round(len(places) * share)), len(places) - 1)
            tested.update(chance.sample(places, count))
    train = [row for place, row in enumerate(cleaned) if place not in tested]
    return train, [cleaned[place] for place in sorted(tested)]


def without(train: Sequence[Row], test: Sequence[Row]) -> list[Row]:
    """The rows to train on whose texts are not among those to test on."""
    texts = {_text(row) for row in test}
    return [row for row in train if _text(row) not in texts]


def _text(row: Row) -> tuple[str, ...]:
    return tuple(str(value) for name, value in row.items() if name != "label")


def _key(value: Any) -> str:
    return plain_label(spellings(value)[0])


def _merged(values: Sequence[Any], names: Mapping[str, str]) -> list[str]:
    """A note for the labels that were spelt in other ways."""
    others: dict[str, Counter[str]] = {}
    for value in values:
        if isinstance(value, str) and value.strip() and value != names[_key(value)]:
            others.setdefault(names[_key(value)], Counter())[value] += 1
    told = [
        f"{', '.join(shown(way) for way in ways)} as {shown(name)}"
        for name, ways in list(others.items())[:_NAMED]
    ]
    return [f"labels written in one way: {'; '.join(told)}"] if told else []
