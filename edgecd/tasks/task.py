"""Tasks: labels, template, and where the examples of each split come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, check_keys, suggest
from edgecd.files import read_toml
from edgecd.tasks.prompts import PromptTemplate, nli_pattern
from edgecd.tasks.readers import DataRow, read_rows

BUILTIN_FOLDER = Path(__file__).parent / "builtin"
SPLITS = ("train", "validation", "test")
UNLABELLED = "unlabelled"
_TOP_KEYS = {"name", "template", "labels", "data", "description"}
_DATA_KEYS = {
    *SPLITS,
    UNLABELLED,
    "hub",
    "config",
    "generator",
    "label_map",
    "fields",
    "label_column",
    "group",
}
GROUP_COLUMN = "heuristic"  # as HANS names it


@dataclass(frozen=True)
class Example:
    """One input; `label` is None when nobody knows it.

    `group` is the kind of input, where the data tell kinds apart: accuracy is told for each.
    """

    id: str
    fields: Mapping[str, str]
    label: str | None
    group: str | None = None


@dataclass(frozen=True)
class Split:
    """The examples of a split, and how many rows were dropped for each label not in the task."""

    examples: tuple[Example, ...]
    dropped: Mapping[str, int]

    def say(self, name: str) -> str:
        """One line for people: how many examples, and what was dropped."""
        line = f"{name}: {len(self.examples)} examples"
        if self.dropped:
            gone = ", ".join(f"{count} {label}" for label, count in self.dropped.items())
            line += f" (dropped, not in [labels]: {gone})"
        return line


@dataclass(frozen=True)
class Task:
    """A classification task; `data` maps a split to a local path or a hub split name."""

    name: str
    template: PromptTemplate
    data: Mapping[str, str]
    hub: str | None = None
    hub_config: str | None = None
    generator: str | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    label_column: str = "label"
    group_column: str = GROUP_COLUMN
    source: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that this task has."""
        return tuple(self.data)

    @property
    def files(self) -> tuple[str, ...]:
        """The local files that it is read from."""
        own = () if self.hub or self.generator else tuple(self.data.values())
        return (self.source, *own)

    @property
    def labels(self) -> tuple[str, ...]:
        """The task's labels, in the order of [labels] in its file."""
        return self.template.labels


def builtin_tasks() -> dict[str, Task]:
    """The tasks that come with the package, by name."""
    return {path.stem: load_task(path.stem) for path in sorted(BUILTIN_FOLDER.glob("*.toml"))}


def load_task(name: str, pattern: str | None = None) -> Task:
    """Load a built-in task by name, or a task file by path; `pattern` swaps the NLI pattern in.

    Raises InputError for a missing file, bad TOML, an unknown key or a template at fault.
    """
    path = BUILTIN_FOLDER / f"{name}.toml"
    if not path.is_file():
        path = Path(name).expanduser()
    if not path.is_file():
        known = sorted(p.stem for p in BUILTIN_FOLDER.glob("*.toml"))
        if path.suffix == ".toml":
            raise InputError(f"{name}: no such file")
        raise InputError(
            f"unknown task {name!r}: name a .toml file or one of {', '.join(known)}"
            + suggest(name, known)
        )
    task = parse_task(read_toml(path), path)
    if pattern is not None:
        task = replace(task, template=nli_pattern(pattern, task.labels))
    return task


def parse_task(table: Mapping[str, Any], path: Path) -> Task:
    """Check a task table; relative data paths are taken from the folder of `path`."""
    where = str(path)
    check_keys(table, _TOP_KEYS, where)
    for key in ("name", "template", "labels", "data"):
        if key not in table:
            raise InputError(f"{where}: {key!r} is missing")
    labels = _texts(table["labels"], f"{where}: [labels]")
    data = table["data"]
    if not isinstance(data, dict):
        raise InputError(f"{where}: [data] must be a table")
    check_keys(data, _DATA_KEYS, f"{where}: [data]")
    label_map = _texts(data.get("label_map", {}), f"{where}: [data.label_map]")
    for given, mapped in label_map.items():
        if mapped not in labels:
            raise InputError(
                f"{where}: [data.label_map] maps {given!r} to {mapped!r}, which is not one of "
                f"{', '.join(labels)}"
            )
    splits = {split: str(data[split]) for split in (*SPLITS, UNLABELLED) if split in data}
    if not splits:
        raise InputError(f"{where}: [data] names no split (train, validation or test)")
    remote = "hub" in data or "generator" in data
    if not remote:
        splits = {split: str(path.parent / file) for split, file in splits.items()}
    try:
        template = PromptTemplate(str(table["template"]), labels)
    except InputError as bad:
        raise InputError(f"{where}: {bad}") from None
    return Task(
        name=str(table["name"]),
        template=template,
        data=splits,
        hub=data.get("hub"),
        hub_config=data.get("config"),
        generator=data.get("generator"),
        label_map=label_map,
        columns=_texts(data.get("fields", {}), f"{where}: [data.fields]"),
        label_column=str(data.get("label_column", "label")),
        group_column=str(data.get("group", GROUP_COLUMN)),
        source=str(path.resolve()) if path.parent != BUILTIN_FOLDER else path.stem,
    )


def read_split(task: Task, split: str, limit: int | None = None) -> Split:
    """Read one split, map its labels, drop and count rows whose label is not the task's.

    Of the split `unlabelled` no label is read, and its ids are its own.
    Raises InputError, naming file and line, for a malformed row, a missing or empty field, an
    unknown label, or an id that occurs twice.
    """
    if split not in task.data:
        raise InputError(
            f"task {task.name!r} has no {split!r} split (it has {', '.join(task.data)}): "
            f"add it to [data] in {task.source}"
        )
    if task.generator is not None:
        rows: Iterable[DataRow] = _generated(task, split)
    else:
        rows = read_rows(task.data[split], task.hub, task.hub_config)
    examples: list[Example] = []
    dropped: dict[str, int] = {}
    seen: dict[str, str] = {}
    for row in rows:
        label = None if split == UNLABELLED else _label_of(task, row)
        if label is not None and label not in task.labels:
            _refuse_misspelt(task, label, row.where)
            dropped[label] = dropped.get(label, 0) + 1
            continue
        group = row.values.get(task.group_column)
        name = _id_of(row, split)
        example = Example(
            name if split != UNLABELLED else f"{UNLABELLED}/{name}",
            _fields_of(task, row),
            label,
            None if group is None else str(group),
        )
        if example.id in seen:
            raise InputError(
                f"{row.where}: id {example.id!r} was used at {seen[example.id]}: ids must be unique"
            )
        seen[example.id] = row.where
        examples.append(example)
        if limit is not None and len(examples) >= limit:
            break
    if dropped and not examples:
        raise InputError(
            f"{task.data[split]}: every label is unknown to task {task.name!r} "
            f"({', '.join(dropped)}, but [labels] has {', '.join(task.labels)}): "
            "add them to [labels], or map them in [data.label_map]"
        )
    if not examples:
        raise InputError(f"{task.data[split]}: no examples")
    return Split(tuple(examples), dropped)


def _texts(table: Any, where: str) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise InputError(f"{where} must be a table of strings")
    return dict(table)


def _label_of(task: Task, row: DataRow) -> str | None:
    value = row.values.get(task.label_column)
    if value is None or value == "":
        return None
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise InputError(f"{row.where}: the label {value!r} is neither a name nor a number")
    return task.label_map.get(str(value), str(value))


def _refuse_misspelt(task: Task, label: str, where: str) -> None:
    """Labels of no interest are dropped (MNLI's neutral); one that looks like ours is a mistake."""
    plain = {name.casefold(): name for name in task.labels}
    if close := get_close_matches(label.casefold(), plain, n=1, cutoff=0.75):
        raise InputError(
            f"{where}: label {label!r} is not one of {', '.join(task.labels)}; did you mean "
            f"{plain[close[0]]!r}? correct it, or map it in [data.label_map] of {task.source}"
        )


def _id_of(row: DataRow, split: str) -> str:
    value = row.values.get("id", row.values.get("idx"))
    return f"{split}-{row.number}" if value is None or value == "" else str(value)


def _fields_of(task: Task, row: DataRow) -> dict[str, str]:
    fields = {}
    for name in task.template.fields:
        column = task.columns.get(name, name)
        value = row.values.get(column)
        if column not in row.values:
            has = ", ".join(row.values)
            raise InputError(
                f"{row.where}: no field {column!r}, which the template of task {task.name!r} "
                f"needs (the row has {has}): correct the template, or map it in [data.fields]"
            )
        if not isinstance(value, str):
            raise InputError(f"{row.where}: field {column!r} is not text")
        if not value.strip():
            raise InputError(f"{row.where}: field {column!r} is empty: fill it or drop the row")
        fields[name] = value
    return fields


def _generated(task: Task, split: str) -> Iterable[DataRow]:
    if task.generator != "tickets":
        raise InputError(f"unknown generator {task.generator!r}: the only one is 'tickets'")
    from edgecd.tasks.tickets.messages import tickets

    kind, _, count = task.data[split].partition(":")
    if not count.isdecimal():
        raise InputError(f"{task.source}: {split} = {task.data[split]!r}: write 'train:1200'")
    for number, values in enumerate(tickets(kind, int(count)), start=1):
        yield DataRow(f"{task.name} {split} {number}", number, values)
