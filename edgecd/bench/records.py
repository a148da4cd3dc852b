"""Frozen dataclasses to JSON and back: a field's name is its key, its type says what is read."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from edgecd.errors import InputError

Record = TypeVar("Record")
_NOTHING = type(None)


def write_record(record: Any) -> Any:
    """A JSON value: dataclasses and mappings become objects, tuples lists; the rest stays."""
    if dataclasses.is_dataclass(record):
        return {
            field.name: write_record(getattr(record, field.name))
            for field in dataclasses.fields(record)
        }
    if isinstance(record, Mapping):
        return {name: write_record(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [write_record(value) for value in record]
    return record


def read_record(kind: type[Record], value: Any, where: str) -> Record:
    """A dataclass from the JSON value that `write_record` gives for it; `where` is for errors.

    Unknown keys are left out. A key that is missing, or null where that is not allowed, takes the
    field's default. Raises InputError for a value of another type, or where there is no default.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {_shown(value)} is not an object")
    values: dict[str, Any] = {}
    hints = _hints(typing.cast(Hashable, kind))
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        hint, found = hints[field.name], value.get(field.name)
        if found is not None or (field.name in value and _takes_null(hint)):
            values[field.name] = _read(hint, found, f"{where}.{field.name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: it has no {field.name}")
    return kind(**values)


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _takes_null(hint: Any) -> bool:
    return hint is Any or _NOTHING in typing.get_args(hint)


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):  # only `X | None`
        (one,) = (argument for argument in arguments if argument is not _NOTHING)
        return None if value is None else _read(one, value, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise InputError(f"{where}: {_shown(value)} is none of {', '.join(map(str, arguments))}")
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type[Any], hint), value, where)
    if origin is tuple:
        return _read_items(arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return {
                name: _read(arguments[1], one, f"{where}.{name}") for name, one in value.items()
            }
        raise InputError(f"{where}: {_shown(value)} is not an object")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise InputError(f"{where}: {_shown(value)} is not {hint.__name__}")


def _read_items(kinds: Sequence[Any], value: Any, where: str) -> tuple[Any, ...]:
    """`tuple[X, ...]` or a tuple of fixed length."""
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: {_shown(value)} is not a list")
    if kinds[-1] is Ellipsis:
        if kinds[0] is float:  # scores by the thousand
            return tuple(map(float, value))
        return tuple(_read(kinds[0], one, where) for one in value)
    if len(value) != len(kinds):
        raise InputError(f"{where}: {len(value)} values in place of {len(kinds)}")
    return tuple(_read(kind, one, where) for kind, one in zip(kinds, value, strict=True))


def _shown(value: Any) -> str:
    return repr(value)[:60]
