"""Records as JSON: what is written is what is read, and what does not fit is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from edgecd.errors import InputError
from edgecd.formats.record import Inline, LeftOut, from_json, to_json


@dataclass(frozen=True)
class Place:
    x: float
    y: float


@dataclass(frozen=True)
class Note:
    text: str
    by: str | None = None


@dataclass(frozen=True)
class Thing:
    name: str
    at: Inline[Place]
    ends: tuple[float, float]
    notes: tuple[Note, ...]
    parts: Mapping[str, Place]
    weight: int | None
    note: Inline[Note | None] = None
    hidden: LeftOut[int | None] = None
    more: Mapping[str, Any] = field(default_factory=dict)


THING = Thing("a", Place(1, 2.5), (0.0, 1), (Note("n"),), {"p": Place(3.0, 4.0)}, None)
JSON = {
    "name": "a",
    "x": 1,
    "y": 2.5,
    "ends": [0.0, 1],
    "notes": [{"text": "n", "by": None}],
    "parts": {"p": {"x": 3.0, "y": 4.0}},
    "weight": None,
    "more": {},
}


def test_a_record_becomes_json_and_comes_back() -> None:
    assert to_json(THING) == JSON and list(to_json(THING)) == list(JSON)
    assert from_json(Thing, JSON, "thing") == THING
    whole = {**JSON, "hidden": 3, "text": "t", "by": "me", "weight": 7, "more": {"any": [1]}}
    again = from_json(Thing, whole, "thing")
    assert again.note == Note("t", "me") and (again.hidden, again.weight) == (3, 7)
    assert to_json(again) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nam": "b"}, "thing: unknown key 'nam'; did you mean 'name'"),
        ({"weight": 1.5}, "thing: weight = 1.5 is not int"),
        ({"weight": True}, "thing: weight = True is not int"),
        ({"name": None}, "thing: name = None is not str"),
        ({"ends": [1.0]}, "thing: ends must be a list of 2"),
        ({"notes": {}}, "thing: notes must be a list, not dict"),
        ({"notes": [{}]}, "thing: notes: 'text' is missing"),
        ({"parts": {"p": {"x": 1.0, "y": "far"}}}, "thing: parts: p: y = 'far' is not float"),
        ({"parts": []}, "thing: parts must be an object"),
    ],
)
def test_what_is_no_such_record_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json(Thing, {**JSON, **change}, "thing")


def test_a_key_without_default_must_be_there() -> None:
    with pytest.raises(InputError, match="thing: 'y' is missing"):
        from_json(Thing, {key: value for key, value in JSON.items() if key != "y"}, "thing")
    with pytest.raises(InputError, match="thing must be an object, not list"):
        from_json(Thing, [], "thing")


@dataclass(frozen=True)
class Older:
    """What another version may have written with more keys, or with nulls."""

    kind: Literal["a", "b"] = "a"
    count: int = 1
    share: float | None = 0.5


def test_a_lenient_reading_passes_over_what_another_version_wrote() -> None:
    raw = {"kind": "b", "count": None, "share": None, "more": 3}
    assert from_json(Older, raw, "file", lenient=True) == Older("b", 1, None)
    with pytest.raises(InputError, match="unknown key 'more'"):
        from_json(Older, raw, "file")
    with pytest.raises(InputError, match="file: count = None is not int"):
        from_json(Older, {"count": None}, "file")


def test_a_literal_is_one_of_its_values() -> None:
    with pytest.raises(InputError, match="file: kind = 'c' is not one of 'a', 'b'"):
        from_json(Older, {"kind": "c"}, "file", lenient=True)
