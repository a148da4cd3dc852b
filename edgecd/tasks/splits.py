"""The examples of a task's splits: every row is checked, and all that is wrong said at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgecd.errors import InputError, shown
from edgecd.tasks.columns import absent
from edgecd.tasks.labels import Spellings, Unknown, plainly, rows
from edgecd.tasks.readers import read_rows
from edgecd.tasks.rows import DataRow, Faults
from edgecd.tasks.task import UNLABELLED, Example, Split, Task

_NAMED = 12  # labels that were dropped and that a message names


@dataclass
class Examined:
    """A split as it was read: its examples, and what was seen on the way.

    `spelt` has, for each of the task's labels, how often each way to write it occurs; `unknown` the
    labels that are none of the task's; `mistakes` those of them that nearly are, with what they
    mean. `faults` are what training refuses.
    """

    examples: list[Example] = field(default_factory=list)
    spelt: dict[str, dict[str, int]] = field(default_factory=dict)
    unknown: dict[str, Unknown] = field(default_factory=dict)
    mistakes: dict[str, str] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)


def read_split(task: Task, split: str, limit: int | None = None) -> Split:
    """Read one split, map its labels, drop and count rows whose label is not the task's.

    Of the split `unlabelled` no label is read, and its ids are its own. Raises InputError that
    names every fault with its file and lines: a malformed row, a column that is not there, a field
    that is empty, a label that is nearly one of the task's, an id that occurs twice.
    """
    found = examine(task, split, limit)
    found.faults.refuse()
    if not found.examples:
        source = task.data[split]
        if not found.unknown:
            raise InputError(f"{source}: no examples")
        raise InputError(
            f"{source}: every label is unknown to task {task.name!r} "
            f"({_some(found.unknown)}, but [labels] has {', '.join(task.labels)}): "
            "add them to [labels], or map them in [data.label_map]"
        )
    dropped = {label: one.count for label, one in found.unknown.items()}
    return Split(tuple(found.examples), dropped)


def examine(task: Task, split: str, limit: int | None = None) -> Examined:
    """Read one split to its end, or to so many examples, and note what is wrong with its rows.

    Raises InputError for a file that cannot be read, and for a split that the task does not have.
    """
    if split not in task.data:
        raise InputError(
            f"task {task.name!r} has no {split!r} split (it has {', '.join(task.data)}): "
            f"add it to [data] in {task.source}"
        )
    reading = _Reading(task, split, Spellings(task.template.verbalizer, task.label_map, task.drop))
    for row in _rows_of(task, split):
        reading.take(row)
        if limit is not None and len(reading.found.examples) >= limit:
            break
    return reading.finish()


class _Reading:
    """One split while it is read."""

    def __init__(self, task: Task, split: str, labels: Spellings) -> None:
        self.found = Examined()
        self._task, self._split, self._labels = task, split, labels
        self._fields = task.template.fields
        self._wanted = set(task.columns.needs)
        if split != UNLABELLED:
            self._wanted.add(task.columns.label)
        self._first: DataRow | None = None
        self._places: dict[str, str] = {}
        self._repeat: str | None = None

    def take(self, row: DataRow) -> None:
        """Make an example of a row, or note why it is none."""
        if self._first is None:
            self._first = row
        if self._wanted:
            self._wanted.difference_update(row.values)
        try:
            example = self._example(row)
            if example is None:
                return
            if example.id in self._places:
                raise InputError(self._repeated(example.id, row.values))
        except InputError as bad:
            self.found.faults.add(str(bad), row.where)
            return
        self._places[example.id] = row.where
        self.found.examples.append(example)

    def _example(self, row: DataRow) -> Example | None:
        """A row as an example; None of a label that is not the task's."""
        columns = self._task.columns
        label = None if self._split == UNLABELLED else self._label(row)
        if label is not None and label not in self._task.template.verbalizer:
            return None
        name = columns.name(row.values, f"{self._split}-{row.number}")
        return Example(
            f"{UNLABELLED}/{name}" if self._split == UNLABELLED else name,
            columns.texts(row.values, self._fields),
            label,
            columns.kind(row.values),
        )

    def finish(self) -> Examined:
        """What was found, once every row was taken: labels are judged all together."""
        task, found = self._task, self.found
        if self._first is not None:
            for column in sorted(self._wanted):
                is_label = column == task.columns.label
                found.faults.add(
                    absent(column, self._first.values, is_label), task.data[self._split]
                )
        found.mistakes = self._labels.mistakes(found.unknown)
        if found.mistakes:
            where = found.unknown[next(iter(found.mistakes))].where
            found.faults.add(self._labels.report(found.mistakes, found.unknown), where)
        return found

    def _label(self, row: DataRow) -> str | None:
        """What a row's label means, which is counted; None of one without."""
        read = self._labels.read(row.values.get(self._task.columns.label))
        if read is None:
            return None
        spelt, label = read
        if label in self._task.template.verbalizer:
            ways = self.found.spelt.setdefault(label, {})
            ways[spelt] = ways.get(spelt, 0) + 1
        else:
            self.found.unknown.setdefault(label, Unknown(row.where)).count += 1
        return label

    def _repeated(self, name: str, values: Mapping[str, Any]) -> str:
        """What to say of ids that occur twice, with the first of them."""
        if self._repeat is None:
            column = next(one for one in self._task.columns.ids if one in values)
            self._repeat = (
                f"id {shown(name)} was used at {self._places[name]}: ids must be unique. If "
                f"{column!r} tells something else than the row, name another column in [data], "
                'such as id_column = "row", or none: id_column = false'
            )
        return self._repeat


def _rows_of(task: Task, split: str) -> Iterable[DataRow]:
    if task.generator is None:
        return read_rows(task.data[split], task.hub, task.hub_config)
    if task.generator != "tickets":
        raise InputError(f"unknown generator {task.generator!r}: the only one is 'tickets'")
    from edgecd.tasks.tickets.messages import tickets

    kind, _, count = task.data[split].partition(":")
    if not count.isdecimal():
        raise InputError(f"{task.source}: {split} = {task.data[split]!r}: write 'train:1200'")
    made: Iterable[Mapping[str, Any]] = tickets(kind, int(count))
    return (
        DataRow(f"{task.name} {split} {number}", number, values)
        for number, values in enumerate(made, start=1)
    )


def _some(unknown: Mapping[str, Unknown]) -> str:
    named = [f"{plainly(label)}: {rows(one.count)}" for label, one in unknown.items()][:_NAMED]
    more = len(unknown) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
