"""Checks of JSON values that come from anywhere: each returns the value, or raises InputError."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgecd.errors import InputError

MAX_TEXT = 65_536
MAX_TOKENS = 1 << 20
MAX_LABELS = 4_096
MAX_DEPTH = 16


def get(raw: Mapping[str, Any], key: str) -> Any:
    """The value of a key that must be there."""
    if key not in raw:
        raise InputError(f"{key!r} is missing")
    return raw[key]


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError for a key that is there twice, of which readers differ."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key appears twice")
    return value


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise InputError(f"{what} must be an object, not {type(value).__name__}")
    return value


def shallow(value: Any, what: str, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """A JSON object in which objects and lists are nested at most `depth` deep."""
    level: list[Any] = [mapping(value, what)]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            found: dict[str, Any] = value
            return found
    raise InputError(f"{what} is nested more than {depth} deep")


def items(value: Any, what: str, limit: int) -> list[Any]:
    """A list of at most `limit` values."""
    if not isinstance(value, list) or len(value) > limit:
        raise InputError(f"{what} must be a list of at most {limit}")
    return value


def text(value: Any, what: str, limit: int) -> str:
    """Text of 1 to `limit` characters, without halves of surrogate pairs."""
    if not isinstance(value, str) or not value or len(value) > limit:
        raise InputError(f"{what} must be text of 1 to {limit} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"{what} is not valid Unicode text")
    return value


def whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{what} must be a whole number from {low} to {high}")
    return value


def number(value: Any, what: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{what} must be a number")
    if abs(value) > 1e30 or not math.isfinite(value):
        raise InputError(f"{what} must be a finite number")
    return float(value)


def texts(value: Any, what: str) -> dict[str, str]:
    """An object of texts."""
    return {
        name: text(content, f"{what}.{name[:64]}", MAX_TEXT)
        for name, content in mapping(value, what).items()
    }


def tokens(value: Any, what: str) -> tuple[int, ...]:
    """Token ids."""
    return tuple(whole(token, what, 0, 1 << 31) for token in items(value, what, MAX_TOKENS))


def labels(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """`labels` in order, and `verbalizer` with the same keys."""
    names = tuple(
        text(name, "labels", 256) for name in items(get(raw, "labels"), "labels", MAX_LABELS)
    )
    words = texts(get(raw, "verbalizer"), "verbalizer")
    if len(set(names)) < len(names) or set(names) != set(words):
        raise InputError("labels and the keys of verbalizer must be the same, each once")
    return names, {name: words[name] for name in names}
