"""What a command line asks of a command, before what it leaves out is chosen."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgecd.config import load_config, one_of, option_of
from edgecd.errors import check_keys

# What tells the kinds of configuration of one command apart, where it takes several.
CHOOSER = "method"
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


@dataclass(frozen=True)
class Asked:
    """Options as given by flags or in a --config file `path`, of one of these `kinds`."""

    kinds: Sequence[type[Any]]
    path: Path | None
    flags: Mapping[str, Any]

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """All options that are given, by name; InputError for a file of anything else."""
        from edgecd.files import read_toml

        there = {} if self.path is None else read_toml(self.path)
        known = {field.name for kind in self.kinds for field in dataclasses.fields(kind)}
        check_keys(there, known, str(self.path))
        return {**there, **self.flags}

    def kind(self, project: Mapping[str, Any] = NOTHING) -> type[Any]:
        """The kind that is asked for; InputError for a method of none of them."""
        return chosen_kind(self.kinds, {**project, **self.options}.get(CHOOSER))

    def request(self, project: Mapping[str, Any] = NOTHING) -> Any:
        """The configuration; `project` are options that win over the defaults alone.

        Of another kind than the project's, the options that both have. Raises InputError as
        `load_config` does.
        """
        kind = self.kind(project)
        if len(self.kinds) > 1 and kind is not chosen_kind(self.kinds, project.get(CHOOSER)):
            names = {field.name for field in dataclasses.fields(kind)} - {CHOOSER}
            project = {name: value for name, value in project.items() if name in names}
        return load_config(self.path, self.flags, kind, project)


def chosen_kind(kinds: Sequence[type[Any]], method: str | None) -> type[Any]:
    """The kind with that method among its choices, by default the first; InputError for none."""
    if len(kinds) == 1 or method is None:
        return kinds[0]
    choices = {
        kind: option_of(field).choices
        for kind in kinds
        for field in dataclasses.fields(kind)
        if field.name == CHOOSER
    }
    one_of(CHOOSER, method, [choice for known in choices.values() for choice in known])
    return next(kind for kind, known in choices.items() if method in known)
