"""Queries of a given number of tokens: what `edgecd bench --lengths` times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING

from edgecd.bench.exchange import AtLength
from edgecd.bench.systems.base import Fields
from edgecd.errors import InputError

if TYPE_CHECKING:  # it imports numpy, whose time belongs to a system's start
    from edgecd.tasks.answerer import Answerer

LONG_TEXTS, CALLS = 3, 10  # inputs to cut, and timed calls of each length in a round


def long_texts(inputs: Sequence[Fields], most_tokens: int) -> tuple[Fields, ...]:
    """A few inputs that are longer than any length asked for: each field is many inputs' in a row.

    A word is at least a token, so `most_tokens` words a field are enough. Raises InputError where
    the inputs have no text to make them of.
    """

    def words(name: str, start: int) -> Iterator[str]:
        for one in cycle([*inputs[start:], *inputs[:start]]):
            yield from one[name].split()

    if not all(any(one[name].split() for one in inputs) for name in inputs[0]):
        raise InputError("--lengths: the task's inputs have an empty field, so none can be long")
    return tuple(
        {name: " ".join(islice(words(name, start), most_tokens)) for name in inputs[0]}
        for start in range(LONG_TEXTS)
    )


def of_length(answerer: Answerer, text: Fields, tokens: int) -> Fields | None:
    """The input with each field cut to its first words, as long as it is read as `tokens` or fewer.

    None when one word a field is too long already.
    """
    words = {name: value.split() for name, value in text.items()}

    def cut(count: int) -> dict[str, str]:
        return {name: " ".join(found[:count]) for name, found in words.items()}

    low, high = 0, max(map(len, words.values()))
    while low < high:
        middle = (low + high + 1) // 2
        (encoded,) = answerer.encode([cut(middle)])
        if len(encoded.ids) <= tokens and not encoded.shortened:
            low = middle
        else:
            high = middle - 1
    return cut(low) if low else None


def time_lengths(
    answerer: Answerer, texts: Sequence[Fields], lengths: Sequence[int]
) -> Mapping[str, AtLength]:
    """Single queries of each length, CALLS timed after one that is not; by length.

    A length that the template alone is over has no entry.
    """
    found = {}
    for length in lengths:
        cut = [of_length(answerer, text, length) for text in texts]
        queries = [one for one in cut if one is not None]
        if not queries:
            continue
        answerer.logits(queries[:1])
        latencies_ms = []
        for call in range(CALLS):
            started = time.perf_counter()
            answerer.logits([queries[call % len(queries)]])
            latencies_ms.append((time.perf_counter() - started) * 1e3)
        tokens = sum(len(one.ids) for one in answerer.encode(queries)) / len(queries)
        found[str(length)] = AtLength(tokens, tuple(latencies_ms))
    return found
