"""A row of a data file, what its columns may be called, and how much a file may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecd.errors import InputError, shown

# Bounds of one file, so that none of a few kilobytes takes the machine's memory.
MAX_ROWS = 2_000_000
MAX_COLUMNS = 16_384
MAX_LINE = 1 << 24  # characters of a line, or of a text
MAX_TEXTS = 1 << 29  # characters of all texts together
_PLACES = 8  # of the same fault that a message names
_KINDS = 20  # of faults
_MOST_FAULTS = 1_000  # with so many there is no use in looking for more


@dataclass(frozen=True)
class DataRow:
    """One record: `where` for messages (file:line), its number from 1, and its columns.

    `fault` says what is wrong with it, where wrong ones were asked for, too.
    """

    where: str
    number: int
    values: Mapping[str, Any]
    fault: str | None = None


@dataclass
class Faults:
    """What is wrong in a file: every kind once, with the places where it occurs.

    `kinds` maps what to say of it to its first places (file:line), `counts` to how many there are.
    """

    kinds: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, where: str) -> None:
        """Note a fault; of too many kinds the last ones are one."""
        if what not in self.kinds and len(self.kinds) >= _KINDS:
            what = "more of other kinds"
        places = self.kinds.setdefault(what, [])
        self.counts[what] = self.counts.get(what, 0) + 1
        if len(places) < _PLACES:
            places.append(where)

    @property
    def are_many(self) -> bool:
        """Whether there are so many that nobody needs to know of more."""
        return sum(self.counts.values()) >= _MOST_FAULTS

    def lines(self) -> list[str]:
        """A line for each kind: the first place, what it is, and where else."""
        found = []
        for what, (first, *others) in self.kinds.items():
            also = [where.rpartition(":")[2] for where in others]
            if more := self.counts[what] - 1 - len(also):
                also.append(f"{more} more")
            found.append(f"{first}: {what}" + (f" (also at {_listed(also)})" if also else ""))
        return found

    def refuse(self) -> None:
        """Raise InputError with all of it, where there is any."""
        if len(lines := self.lines()) > 1:
            lines = [f"{len(lines)} things to mend", *(f"  {line}" for line in lines)]
        if lines:
            raise InputError("\n".join(lines))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def check_columns(names: Sequence[str], where: str) -> None:
    """Raise InputError for a header without names, with too many, or with one name twice.

    Unnamed columns ("") are no fault: nobody reads them.
    """
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{where}: {len(names):,} columns, and {MAX_COLUMNS:,} are the most")
    named = [name for name in names if name]
    if not named:
        raise InputError(f"{where}: no names of columns: write them there, such as text,label")
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise InputError(
            f"{where}: the column {shown(twice)} is there {named.count(twice)} times: rename or "
            "remove all but one"
        )


def bounded(rows: Iterable[DataRow], name: str) -> Iterator[DataRow]:
    """The same rows; InputError once there are too many, or too much text, to be kept.

    And for what the system says while they are read.
    """
    texts, count = 0, 0
    try:
        for row in rows:
            count += 1
            texts += sum(len(value) for value in row.values.values() if isinstance(value, str))
            if count > MAX_ROWS:
                raise InputError(f"{name}: over {MAX_ROWS:,} rows: take a sample of them")
            if texts > MAX_TEXTS:
                raise InputError(
                    f"{row.where}: over {MAX_TEXTS:,} characters of text up to here: take a sample "
                    "of the rows, or shorter ones"
                )
            yield row
    except OSError as bad:
        raise InputError(f"{name}: cannot be read ({bad.strerror or bad})") from None
