"""Frozen dataclasses as JSON and back: a key for each field, in the order of the fields.

What the types say is what the reader accepts, so that a record has one declaration, one writer and
one reader. A field of type `Inline[X]` is a record whose keys stand among its owner's (none of them
where it is None); one of type `LeftOut[X]` has no key while its value is its default.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from edgecd.errors import InputError, check_keys
from edgecd.formats import strict

_Record = TypeVar("_Record")
_Content = TypeVar("_Content")
_INLINE, _LEFT_OUT = "inline", "left out"
Inline = Annotated[_Content, _INLINE]
LeftOut = Annotated[_Content, _LEFT_OUT]


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a record: its type, whether it has a default, and how it is written."""

    name: str
    hint: Any
    default: Any
    optional: bool
    how: str | None

    @property
    def inner(self) -> Any:
        """The class of an inline record."""
        return _without_none(self.hint)[0]

    @property
    def needs_value(self) -> bool:
        """Whether None is none of its values."""
        inner, may_be_none = _without_none(self.hint)
        return not may_be_none and inner is not Any


def to_json(value: Any) -> Any:
    """A record, or a mapping or sequence of records, as objects and lists that JSON can hold."""
    if isinstance(value, Mapping):
        return {key: to_json(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(content) for content in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    whole: dict[str, Any] = {}
    for field in _fields(type(value)):
        content = getattr(value, field.name)
        if field.how == _INLINE:
            whole |= {} if content is None else to_json(content)
        elif field.how != _LEFT_OUT or content != field.default:
            whole[field.name] = to_json(content)
    return whole


def from_json(kind: type[_Record], raw: Any, where: str, lenient: bool = False) -> _Record:
    """The record of class `kind` that a JSON object holds; `where` names the object in errors.

    A key that is missing takes its field's default. Raises InputError for one that has none, for a
    key that is no field's, and for a value of another type than its field's. `lenient` is for what
    another version wrote: keys that are no field's are passed over, and a null that its field does
    not allow counts as missing.
    """
    record: _Record = _whole(kind, raw, where, lenient)
    return record


def _whole(kind: Any, raw: Any, where: str, lenient: bool) -> Any:
    found = strict.mapping(raw, where)
    if not lenient:
        check_keys(found, set(_keys(kind)), where)
    return _record(kind, found, where, lenient)


def _record(kind: Any, raw: Mapping[str, Any], where: str, lenient: bool) -> Any:
    values: dict[str, Any] = {}
    for field in _fields(kind):
        if field.how == _INLINE:
            if not field.optional or not raw.keys().isdisjoint(_keys(field.inner)):
                values[field.name] = _record(field.inner, raw, where, lenient)
        elif field.name in raw and not (lenient and raw[field.name] is None and field.needs_value):
            place = f"{where}: {field.name}"
            values[field.name] = _value(field.hint, raw[field.name], place, lenient)
        elif not field.optional:
            raise InputError(f"{where}: {field.name!r} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, where: str, lenient: bool) -> Any:
    """A value of JSON as the type `hint`: Any, a scalar, a record, a tuple or a mapping of them."""
    inner, may_be_none = _without_none(hint)
    if inner is Any or (may_be_none and value is None):
        return value
    if dataclasses.is_dataclass(inner):
        return _whole(inner, value, where, lenient)
    parts = typing.get_args(inner)
    if typing.get_origin(inner) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where} must be a list, not {type(value).__name__}")
        hints = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        if len(hints) != len(value):
            raise InputError(f"{where} must be a list of {len(hints)}")
        return tuple(
            _value(part, one, where, lenient) for part, one in zip(hints, value, strict=True)
        )
    if typing.get_origin(inner) is typing.Literal:
        if value not in parts:
            raise InputError(f"{where} = {value!r} is not one of {', '.join(map(repr, parts))}")
        return value
    if parts:
        found = strict.mapping(value, where)
        return {
            key: _value(parts[-1], one, f"{where}: {key}", lenient) for key, one in found.items()
        }
    known = (int, float) if inner is float else inner
    if not isinstance(value, known) or (isinstance(value, bool) and inner is not bool):
        raise InputError(f"{where} = {value!r} is not {inner.__name__}")
    return value


def _without_none(hint: Any) -> tuple[Any, bool]:
    """(X, True) for `X | None`, else (the type itself, False)."""
    if not isinstance(hint, types.UnionType):
        return hint, False
    (inner,) = (part for part in hint.__args__ if part is not types.NoneType)
    return inner, True


@functools.cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        hint, how = hints[field.name], None
        if typing.get_origin(hint) is Annotated:
            hint, how = hint.__origin__, hint.__metadata__[0]
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        found.append(_Field(field.name, hint, field.default, optional, how))
    return tuple(found)


@functools.cache
def _keys(kind: Any) -> frozenset[str]:
    """Every key that a record of this kind may have, those of its inline records included."""
    keys: set[str] = set()
    for field in _fields(kind):
        keys |= _keys(field.inner) if field.how == _INLINE else {field.name}
    return frozenset(keys)
