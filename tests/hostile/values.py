"""Hostile values: what stands in for a value of JSON, and what happens to bytes on their way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

_DEEP = "@deep@"
TEXTS = (
    "the cat",
    "",
    "  ",
    "é漢字 \n\t👩\u200d💻",
    "a" * 3_000,
    "</s><pad>[SEP]<|x|>",
    "x " * 800,
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    10**20,
    2**31,
    2**32,
    2**63,
    "",
    " ",
    "a",
    "a" * 70_000,
    "\0",
    "\x1b[31m\u202e",
    "\ud800",
    "../../etc/passwd",
    "/dev/zero",
    "model.onnx",
    "{x}",
    "{0.__class__}",
    "{",
    "text",
    [],
    {},
    [None],
    ["a", "a"],
    {"": {}},
    {"id": "A"},
    [[[[]]]],
    [0] * 5_000,
    _DEEP,
)


class WrongError(AssertionError):
    """A case was taken that had to be refused, or answered with what is no answer."""


def value(random: Random) -> Any:
    """Any hostile value; a new one each time."""
    return copy.deepcopy(random.choice(VALUES))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        one = todo.pop()
        inner = one.items() if isinstance(one, dict) else enumerate(one)
        for key, child in inner:
            found.append((one, key))
            if isinstance(child, dict | list):
                todo.append(child)
    return found


def changed(random: Random, tree: Any, times: int = 3) -> Any:
    """A value of JSON with some of its parts replaced, dropped, doubled or swapped."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randint(1, times)):
        places = _places(tree)
        if not places:
            return value(random)
        box, key = random.choice(places)
        kind = random.random()
        if kind < 0.55:
            box[key] = value(random)
        elif kind < 0.7:
            del box[key]
        elif kind < 0.8 and isinstance(box, dict):
            box[str(value(random))[:2_000]] = box.pop(key)
        elif kind < 0.9:
            other, place = random.choice(places)
            if place in other if isinstance(other, dict) else place < len(other):
                box[key] = copy.deepcopy(other[place])
        elif isinstance(box[key], str):
            box[key] = text(random, box[key])
        elif isinstance(box[key], int | float) and not isinstance(box[key], bool):
            box[key] = box[key] * random.choice((-1, 0, 2, 10**6, 0.5)) + random.choice((0, 1, -1))
        else:
            box[key] = value(random)
    return tree


def text(random: Random, given: str) -> str:
    """A text with something in it that is not easily read."""
    at = random.randint(0, len(given))
    odd = ("\0", "\ud800", "\x1b[2J", "{", "}", "{a.b}", "</s>", "\n", "é" * 50, "\u202e", " " * 99)
    return given[:at] + random.choice(odd) + given[at:]


def json_bytes(random: Random, tree: Any) -> bytes:
    """A value as bytes of JSON, or nearly so."""
    try:
        written = json.dumps(tree, ensure_ascii=random.random() < 0.7)
    except RecursionError:
        return b"{}"
    depth = random.choice((50, 900, 5_000, 200_000))
    written = written.replace(f'"{_DEEP}"', "[" * depth + "]" * depth)
    if random.random() < 0.08:
        written = written[:-1] + ', "format": 2, "model": 1' + written[-1:]
    done = written.encode("utf-8", "surrogatepass")
    return bytes_of(random, done) if random.random() < 0.15 else done


def bytes_of(random: Random, data: bytes, times: int = 4) -> bytes:
    """Bytes that were damaged in a few places."""
    made = bytearray(data)
    for _ in range(random.randint(1, times)):
        at = random.randint(0, len(made))
        size = random.choice((1, 2, 4, 8, 64))
        _DAMAGE[random.randrange(len(_DAMAGE))](random, made, at, size)
    return bytes(made)


def _flip(random: Random, made: bytearray, at: int, size: int) -> None:
    if at < len(made):
        made[at] ^= 1 << random.randrange(8)


def _set(random: Random, made: bytearray, at: int, size: int) -> None:
    made[at : at + size] = random.choice((b"\0", b"\xff", b"\x80", b"\x7f", b"0", b'"')) * size


def _insert(random: Random, made: bytearray, at: int, size: int) -> None:
    made[at:at] = random.randbytes(size)


def _drop(random: Random, made: bytearray, at: int, size: int) -> None:
    del made[at : at + size]


def _cut(random: Random, made: bytearray, at: int, size: int) -> None:
    del made[at:]


def _double(random: Random, made: bytearray, at: int, size: int) -> None:
    made[at:at] = made[at : at + size * random.choice((1, 8, 64))]


_DAMAGE: tuple[Callable[[Random, bytearray, int, int], None], ...] = (
    _flip,
    _flip,
    _set,
    _insert,
    _drop,
    _cut,
    _double,
)
