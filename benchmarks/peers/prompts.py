"""Prompts of real text: whole ones to answer, and ones of an exact number of tokens to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from edgecd.errors import InputError
from edgecd.formats.manifest import Manifest
from edgecd.tasks.encoding import encode_prompt, token_ids
from edgecd.tasks.readers import read_rows


@dataclass(frozen=True)
class Prompts:
    """Token ids of each example's prompt, its label's column (-1 without one), the start tokens."""

    ids: list[list[int]]
    gold: list[int]
    start: list[int]


def read_prompts(path: Path, tokenizer: Tokenizer, manifest: Manifest, limit: int) -> Prompts:
    """The first `limit` examples of a JSONL file with `fields` and `label`."""
    ids, gold = [], []
    for row in islice(read_rows(str(path)), limit):
        fields, label = row.values["fields"], row.values.get("label")
        ids.append(encode_prompt(tokenizer, manifest.prompt, fields, manifest.max_length).ids)
        gold.append(manifest.labels.index(label) if label is not None else -1)
    return Prompts(ids, gold, token_ids(tokenizer, "", special=True))


def exact(prompts: Prompts, length: int, count: int, first: int = 0) -> list[list[int]]:
    """`count` prompts of `length` tokens, each the end of the text up to another example's end.

    They end as a prompt does; a longer one than its example begins inside earlier examples.
    InputError when all examples together are shorter.
    """
    stream: list[int] = []
    ends = []
    for ids in prompts.ids:
        stream += ids[len(prompts.start) :]
        ends.append(len(stream))
    tail = length - len(prompts.start)
    ends = [end for end in ends if end >= tail]
    if not ends or tail < 1:
        raise InputError(f"the examples give no prompt of {length} tokens: give more of them")
    chosen: Sequence[int] = [ends[(first + place) % len(ends)] for place in range(count)]
    return [prompts.start + stream[end - tail : end] for end in chosen]
