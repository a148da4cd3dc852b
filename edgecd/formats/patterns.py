"""Regular expressions of a stranger's: is the time that one takes bounded by the text's length?

Tokenizers split texts with patterns in Oniguruma's language, which tries every way of matching.
Nested repetition takes exponential time, and repetition after repetition a power of the text's
length. Patterns of real tokenizers have none of it; what cannot be shown to be cheap is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgecd.errors import InputError

MAX_LENGTH = 4_096
_MAX_DEPTH = 32
_ANY = 65  # more repetitions than that are as good as any number
_MAX_COPIES = 1_000
# Ways to match at one place. A repetition that is tried again, once shorter each time, counts as
# _LONG of them: two of those, one after the other, are too many.
_LONG, _MOST = 16, 255
_COUNT = re.compile(r"\{(\d{1,6})?(,?)(\d{1,6})?\}")
_GROUP = re.compile(r"\?(?::|=|!|<=|<!|>|[imx-]*:|[imx-]+\)|<[A-Za-z_]\w*>)")
_ESCAPE = re.compile(
    r"\\(?:[pPxu]\{[^}]{0,64}\}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|[^gkKXRxu])", re.DOTALL
)


@dataclass(frozen=True)
class _Part:
    """What is known of a part of a pattern.

    In how many ways it is tried where nothing stands behind it (`last`), and where something does
    that may fail (`followed`); it `must` match something; `copies` that counts make of it.
    """

    last: int = 1
    followed: int = 1
    must: bool = True
    copies: int = 1


def check_pattern(pattern: str, where: str) -> None:
    """Raise InputError for a pattern that may take long, is long, or is not understood here."""
    try:
        if len(pattern) > MAX_LENGTH:
            raise _RefusedError(f"it has {len(pattern)} characters")
        reader = _Reader(pattern)
        whole = reader.alternatives(0)
        if reader.at < len(pattern):
            raise _RefusedError("it closes a group that it did not open")
        if whole.last > _MOST:
            raise _RefusedError("it may try too many ways to match at each place")
        if reader.refers and reader.repeats_in_group:
            raise _RefusedError("it refers back to what repeats")
    except _RefusedError as bad:
        raise InputError(
            f"{where}: the pattern {pattern[:80]!r} may take too long: {bad}"
        ) from None


class _RefusedError(ValueError):
    """The text says why."""


class _Reader:
    """Reads a pattern from `at` on."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.refers = self.repeats_in_group = False

    def alternatives(self, depth: int) -> _Part:
        """Parts with `|` between them, up to a `)` or the end: their ways add up."""
        if depth > _MAX_DEPTH:
            raise _RefusedError("its groups are nested too deeply")
        parts = [self._sequence(depth)]
        while self._next() == "|":
            self.at += 1
            parts.append(self._sequence(depth))
        return _Part(
            _bounded(sum(part.last for part in parts)),
            _bounded(sum(part.followed for part in parts)),
            all(part.must for part in parts),
            max(part.copies for part in parts),
        )

    def _sequence(self, depth: int) -> _Part:
        parts: list[_Part] = []
        while (here := self._next()) and here not in "|)":
            parts.append(self._repeated(self._atom(depth), depth))
        return _in_sequence(parts)

    def _atom(self, depth: int) -> _Part:
        here = self._next()
        if here == "(":
            return self._group(depth)
        if here == "[":
            self._set()
        elif here == "\\":
            self._escape()
        elif here in "*+?":
            raise _RefusedError("it repeats nothing")
        else:
            self.at += 1
        return _Part(must=here not in "^$")

    def _escape(self) -> None:
        found = _ESCAPE.match(self.pattern, self.at)
        if found is None:
            raise _RefusedError("it has an escape that is not known here")
        self.refers |= found[0][1] in "123456789"
        self.at = found.end()

    def _group(self, depth: int) -> _Part:
        self.at += 1
        kind = ""
        if self._next() == "?":
            found = _GROUP.match(self.pattern, self.at)
            if found is None:
                raise _RefusedError("it has a group of a kind that is not known here")
            self.at, kind = found.end(), found[0]
            if kind.endswith(")"):
                return _Part(must=False)
        inner = self.alternatives(depth + 1)
        if self._next() != ")":
            raise _RefusedError("it does not close a group")
        self.at += 1
        if kind in ("?=", "?!", "?<=", "?<!", "?>"):  # tried once, whatever comes behind
            return _Part(inner.last, inner.last, inner.must or kind != "?>", inner.copies)
        return inner

    def _set(self) -> None:
        depth, self.at = 1, self.at + 1
        if self._next() == "^":
            self.at += 1
        if self._next() == "]":
            self.at += 1
        while depth:
            here = self._next()
            if not here:
                raise _RefusedError("it does not close a set of characters")
            if here == "\\":
                self._escape()
                continue
            depth += (here == "[") - (here == "]")
            self.at += 1

    def _repeated(self, part: _Part, depth: int) -> _Part:
        while (here := self._next()) and here in "*+?{":
            low, high = int(here == "+"), 1 if here == "?" else _ANY
            end = self.at + 1
            if here == "{":
                found = _COUNT.match(self.pattern, self.at)
                if found is None or not (found[1] or found[3]):
                    return part  # a brace by itself
                end, low = found.end(), int(found[1] or 0)
                high = int(found[3]) if found[3] else _ANY if found[2] else low
            self.at = end
            if self._next() == "?" or (here != "{" and self._next() == "+"):
                self.at += 1  # as few as can be, or without trying again
            self.repeats_in_group |= depth > 0 and high > 1
            part = _repeat(part, low, high)
        return part

    def _next(self) -> str:
        return self.pattern[self.at : self.at + 1]


def _in_sequence(parts: Sequence[_Part]) -> _Part:
    """Parts one after the other; what is behind the last that must match cannot fail."""
    last, trailing, followed, later = 1, 0, 1, False
    for part in reversed(parts):
        followed = _bounded(followed * part.followed)
        if later:
            last = _bounded(last * part.followed)
        elif part.must:
            last, later = part.last, True
        else:
            trailing += part.last
    copies = max((part.copies for part in parts), default=1)
    return _Part(_bounded(last + trailing), followed, later, copies)


def _repeat(part: _Part, low: int, high: int) -> _Part:
    """A part `low` to `high` times; _ANY is without a bound."""
    copies = part.copies * max(low, high if high < _ANY else 1, 1)
    if copies > _MAX_COPIES or high < low:
        raise _RefusedError("it counts too far")
    if max(low, high) > 1 and part.followed > 1 and high >= _ANY:
        raise _RefusedError("it repeats what repeats, or what has choices")
    if high >= _ANY and high != low:
        return _Part(part.last, _bounded(_LONG * part.followed), part.must and low > 0, copies)
    times = max(high, 1)
    tried = _bounded(part.followed ** min(times, 9))
    return _Part(
        _bounded(tried if times > 1 else part.last),
        _bounded(tried * (high - low + 1)),
        part.must and low > 0,
        copies,
    )


def _bounded(ways: int) -> int:
    return min(ways, _MOST + 1)
