"""What a command is asked to do: a frozen dataclass, its options said once, TOML in and out."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgecd.errors import InputError, check_keys

# Headings of `--help`, in the order in which it shows them.
MODELS, METHOD, TRAINING, CONTEXTS, MACHINE = GROUPS = (
    "Task and models",
    "Method",
    "Training",
    "Contexts",
    "Machine",
)

PROJECT = "edgecd.toml"  # in the working directory: what its commands are asked by default

Config = TypeVar("Config")


@dataclass(frozen=True)
class Option:
    """What a field says about itself as a command-line option; see `option`."""

    help: str
    group: str
    low: float | None
    high: float | None
    choices: Collection[str]  # a table stays itself: it may grow
    path: bool
    flags: Mapping[str, str]


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    group: str = "Options",
    low: float | None = None,
    high: float | None = None,
    choices: Collection[str] = (),
    path: bool = False,
    flags: Sequence[str] | Mapping[str, str] = (),
) -> Any:
    """A field of a command's configuration that is its command-line option, too.

    `help` is what `--help` says, under the heading `group`; a value must be from `low` to `high`,
    or one of `choices` (see `check_options`). Without a `default` it has to be given.

    The field's type says how it is written. A truth is `--x` or `--no-x`, or the one of `flags`.
    Several texts or whole numbers have commas between; several paths repeat the option. Choices
    with `flags` (flag -> help) are a flag each, as `--int8`. A file or folder that a
    configuration file names is taken from that file's folder where it exists there: a Path
    always, a text where it is a `path`.
    """
    helps = flags if isinstance(flags, Mapping) else dict.fromkeys(flags, help)
    said = Option(help, group, low, high, choices, path, helps)
    return dataclasses.field(default=default, metadata={"option": said})


def like(kind: type[Any], name: str, default: Any = dataclasses.MISSING, **other: Any) -> Any:
    """The option `name` of the configuration `kind`, declared once for both.

    `default` replaces its default; `other` what else differs, as `choices` or `low`.
    """
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    return dataclasses.field(
        default=field.default if default is dataclasses.MISSING else default,
        metadata={"option": dataclasses.replace(option_of(field), **other)},
    )


def option_of(field: dataclasses.Field[Any]) -> Option:
    """What the field says about itself as an option."""
    said: Option = field.metadata["option"]
    return said


def check_options(config: Any) -> None:
    """Raise InputError, naming the option, for a value that its field does not allow."""
    for field in dataclasses.fields(config):
        said = option_of(field)
        value = getattr(config, field.name)
        for one in value if isinstance(value, tuple | list) else (value,):
            if one is None:
                continue
            if said.choices:
                one_of(field.name, one, said.choices)
            within(field.name, one, said.low, said.high)


def load_config(
    path: Path | None,
    flags: Mapping[str, Any],
    kind: Callable[..., Config],
    project: Mapping[str, Any] = types.MappingProxyType({}),
) -> Config:
    """Defaults, overridden by the TOML file, overridden by the flags that are not None.

    `kind` is a dataclass of options, and `project` holds some of them that PROJECT says, which
    win over the defaults alone. A relative path in the file is taken from the file's folder
    when it exists there. Raises InputError for a missing file, bad TOML, an unknown key, a wrong
    type, a flag that is none of this kind's options, or one that is missing.
    """
    from edgecd.files import read_toml  # late: every `--help` imports this module

    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    hints = typing.get_type_hints(kind)
    check_keys(project, set(fields), PROJECT)
    values = {key: _typed(key, value, hints[key], PROJECT) for key, value in project.items()}
    if path is not None:
        there = read_toml(path)
        check_keys(there, set(fields), str(path))
        for key, value in there.items():
            values[key] = _typed(key, value, hints[key], str(path))
            if option_of(fields[key]).path or Path in _parts(hints[key]):
                values[key] = _beside(path.parent, values[key])
    given = {key: value for key, value in flags.items() if value is not None}
    for key in given:
        if key not in fields and "method" in fields:
            method = {"method": fields["method"].default, **values, **given}["method"]
            raise InputError(f"{flag(key)} has no meaning for --method {method}")
    check_keys(given, set(fields), "options")
    values |= {key: _typed(key, value, hints[key], "options") for key, value in given.items()}
    for key, field in fields.items():
        if key not in values and field.default is dataclasses.MISSING:
            raise InputError(f"{flag(key)} is missing: give it, or {key} = ... in a --config file")
    return kind(**values)


def to_toml(config: Any) -> str:
    """The resolved configuration as TOML that `load_config` reads back to an equal one."""
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None:
            # JSON's values are TOML's, but for surrogate escapes and a bare DEL
            text = json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
            lines.append(f"{field.name} = {text}")
    return "\n".join(lines) + "\n"


def flag(name: str) -> str:
    """The option on the command line of the field `name`."""
    return f"--{name.replace('_', '-')}"


def _parts(hint: Any) -> tuple[Any, ...]:
    """The types that a hint is made of: those of a union, and the items of a list or tuple."""
    inner = typing.get_args(hint)
    return tuple(part for one in inner for part in _parts(one)) if inner else (hint,)


def _typed(key: str, value: Any, hint: Any, where: str) -> Any:
    """The value as its field keeps it; InputError for one of another type."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = [
        kind for kind in (typing.get_args(hint) if union else (hint,)) if kind is not type(None)
    ]
    for kind in kinds:
        series = typing.get_origin(kind)
        if series in (tuple, list) and isinstance(value, tuple | list):
            items = typing.get_args(kind)
            if series is list or items[-1] is Ellipsis:
                items = items[:1] * len(value)
            if len(items) == len(value):
                return series(
                    _typed(key, one, item, where) for one, item in zip(value, items, strict=True)
                )
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is Path and isinstance(value, str):
            return Path(value)
        if series is None and isinstance(value, kind) and isinstance(value, bool) <= (kind is bool):
            return value
    raise InputError(f"{where}: {key} = {value!r} is not {' or '.join(map(_named, kinds))}")


def _named(kind: Any) -> str:
    """A type as an error says it."""
    if typing.get_origin(kind) is not None:
        return f"a list of {_parts(kind)[0].__name__}"
    return "a path" if kind is Path else str(kind.__name__)


def _beside(folder: Path, value: Any) -> Any:
    """A path of a file in `folder`, from there when it exists there; of several, each."""
    if isinstance(value, tuple | list):
        return type(value)(_beside(folder, one) for one in value)
    beside = folder / value
    try:
        exists = str(value) != "" and beside.exists()
    except OSError:  # a text that is too long for a file's name
        exists = False
    return type(value)(str(beside)) if exists else value


def one_of(name: str, value: str, known: Collection[str]) -> None:
    """Raise InputError, naming the option, unless `value` is one of `known`."""
    if value not in known:
        raise InputError(f"{flag(name)} {value}: choose one of {', '.join(known)}")


def within(name: str, value: float, low: float | None, high: float | None) -> None:
    """Raise InputError, naming the option, unless `value` is from `low` to `high`, if any."""
    if (low is None or low <= value) and (high is None or value <= high):
        return
    if low is None or high is None:
        limit = f"{high:g} or less" if low is None else f"{low:g} or more"
    else:
        limit = f"from {low:g} to {high:g}"
    raise InputError(f"{flag(name)} {value:g}: must be {limit}")
