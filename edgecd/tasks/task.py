"""Tasks: labels, template, and where the examples of each split come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecd.errors import InputError, check_keys, shown, suggest
from edgecd.files import read_toml
from edgecd.tasks.columns import Columns
from edgecd.tasks.labels import plainly
from edgecd.tasks.prompts import PromptTemplate, nli_pattern
from edgecd.tasks.task_keys import (
    columns_of,
    dropped_labels,
    folder_name,
    labels_of,
    template_of,
    texts_of,
)

BUILTIN_FOLDER = Path(__file__).parent / "builtin"
SPLITS = ("train", "validation", "test")
UNLABELLED = "unlabelled"
_TOLD = 12  # dropped labels that a message names
_TOP_KEYS = {"name", "template", "labels", "data", "description"}
_SOURCE_KEYS = ("hub", "config", "generator")
_DATA_KEYS = {
    *SPLITS,
    UNLABELLED,
    *_SOURCE_KEYS,
    "label_map",
    "drop",
    "fields",
    "label_column",
    "id_column",
    "group",
}


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
        without = sum(example.label is None for example in self.examples)
        if without and name != UNLABELLED:
            line += f", {without} of them without a label"
        if self.dropped:
            gone = ", ".join(
                f"{n} {plainly(label)}" for label, n in list(self.dropped.items())[:_TOLD]
            )
            more = f" and {len(self.dropped) - _TOLD} labels more" * (len(self.dropped) > _TOLD)
            line += f" (dropped, not in [labels]: {gone}{more})"
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
    drop: frozenset[str] = frozenset()
    columns: Columns = field(default_factory=Columns)
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
    data = table.get("data")
    for key in ("name", "template", "labels", "data"):
        if key not in table:
            below = isinstance(data, dict) and key in data
            raise InputError(
                f"{where}: {key!r} is missing"
                + " at the top: it stands below [data], so move it above that line" * below
            )
    if not isinstance(data, dict):
        raise InputError(f"{where}: [data] must be a table")
    check_keys(data, _DATA_KEYS, f"{where}: [data]")
    labels = labels_of(table["labels"], where)
    label_map = texts_of(data.get("label_map", {}), f"{where}: [data.label_map]")
    for given, mapped in label_map.items():
        if mapped not in labels:
            raise InputError(
                f"{where}: [data.label_map] maps {shown(given)} to {shown(mapped)}, which is not "
                f"one of {', '.join(labels)}"
            )
    splits = {split: data[split] for split in (*SPLITS, UNLABELLED) if split in data}
    for key, value in {**splits, **{key: data.get(key) for key in _SOURCE_KEYS}}.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise InputError(f"{where}: [data] {key} must be a text, and is {shown(value)}")
    if not splits:
        raise InputError(f"{where}: [data] names no split (train, validation or test)")
    remote = "hub" in data or "generator" in data
    if not remote:
        splits = {split: str(path.parent / file) for split, file in splits.items()}
    try:
        template = PromptTemplate(template_of(table["template"]), labels)
    except InputError as bad:
        raise InputError(f"{where}: {bad}") from None
    return Task(
        name=folder_name(table["name"], where),
        template=template,
        data=splits,
        hub=data.get("hub"),
        hub_config=data.get("config"),
        generator=data.get("generator"),
        label_map=label_map,
        drop=dropped_labels(data.get("drop", []), labels, where),
        columns=columns_of(data, template.fields, where),
        source=str(path.resolve()) if path.parent != BUILTIN_FOLDER else path.stem,
    )
