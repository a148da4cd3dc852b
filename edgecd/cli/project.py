"""`edgecd.toml` in the working directory: what its commands are asked where nobody says more.

    task = "task.toml"                      # built-in name or file
    teacher = "~/models/qwen2.5-0.5b"       # folder, hub id or .gguf file
    student = "~/models/smollm2-135m"
    name = "tickets"                        # of runs, bundles and reports; by default the task's

    [train]                                 # options by the names that --config takes
    shots = 32
    [export]
    precision = "int8"
    [bench]
    limit = 300

Flags and a --config file win over it. Paths are from the working directory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecd.bench.config import BenchConfig
from edgecd.cli.asked import CHOOSER, chosen_kind
from edgecd.config import PROJECT
from edgecd.contexts.methods import config_classes
from edgecd.errors import InputError, check_keys
from edgecd.export.config import ExportConfig

MODELS = ("task", "teacher", "student")
_TABLES: Mapping[str, Sequence[type[Any]]] = {
    "train": config_classes(),
    "export": (ExportConfig,),
    "bench": (BenchConfig,),
}
# Of these options one stands in for the other.
_INSTEAD = (("precision", "target"), ("threshold", "precision_target"))


@dataclass(frozen=True)
class Project:
    """What `edgecd.toml` says; nothing where there is none (`is_there`).

    `models` holds the task, the teacher and the student that it names, `tables` the options of
    each command.
    """

    is_there: bool = False
    name: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def task(self) -> str | None:
        """The task that the project is about."""
        return self.models.get("task")

    def training(self) -> dict[str, Any]:
        """Options of `train`: those of [train], and the task and models that its method takes."""
        table = self.tables.get("train", {})
        kind = chosen_kind(_TABLES["train"], table.get(CHOOSER))
        return {**_of_kind(self.models, kind), **table}

    def exporting(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of [export], but for those that what is `given` stands in for."""
        table = dict(self.tables.get("export", {}))
        for pair in _INSTEAD:
            if any(name in given for name in pair):
                for name in pair:
                    table.pop(name, None)
        return table

    def measuring(self) -> dict[str, Any]:
        """Options of [bench]."""
        return dict(self.tables.get("bench", {}))


def read_project() -> Project:
    """The project file of the working directory, where there is one.

    Raises InputError, naming the nearest, for a key that is none, and for values of other types.
    """
    from edgecd.files import read_toml

    path = Path(PROJECT)
    if not path.exists():
        return Project()
    values = read_toml(path)
    check_keys(values, {*MODELS, "name", *_TABLES}, PROJECT)
    for key in (*MODELS, "name"):
        if not isinstance(values.get(key, ""), str):
            raise InputError(f"{PROJECT}: {key} = {values[key]!r} is not text")
    for key, kinds in _TABLES.items():
        table = values.get(key, {})
        if not isinstance(table, dict):
            raise InputError(f"{PROJECT}: {key} must be a table of options: [{key}]")
        kind = chosen_kind(kinds, table.get(CHOOSER))
        check_keys(table, {one.name for one in dataclasses.fields(kind)}, f"{PROJECT}: [{key}]")
    return Project(
        is_there=True,
        name=values.get("name"),
        models={key: values[key] for key in MODELS if key in values},
        tables={key: values[key] for key in _TABLES if key in values},
    )


def _of_kind(values: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}
