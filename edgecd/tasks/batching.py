"""Prompts of like lengths into batches, padded on the right: for every runtime the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# Of one batch, with its padding: more costs memory and gains little.
BATCH_TOKENS = 4_096


def batches(
    lengths: Sequence[int],
    rows: int,
    tokens: int | None = BATCH_TOKENS,
    longest_first: bool = False,
) -> Iterator[list[int]]:
    """Places of prompts, in order of length, at most `rows` and `tokens` (None: any) a batch.

    Every place comes exactly once; a prompt over the limit is a batch of its own. With
    `longest_first` a lack of memory shows at once.
    """
    batch: list[int] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=longest_first):
        longest = max(longest, lengths[place])
        over = tokens is not None and (len(batch) + 1) * longest > tokens
        if batch and (over or len(batch) == rows):
            yield batch
            batch, longest = [], lengths[place]
        batch.append(place)
    if batch:
        yield batch


def padded(
    prompts: Sequence[Sequence[int]], pad_token_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(ids, mask), int64 [prompts, longest], padded on the right; the mask is 1 at real tokens."""
    longest = max(len(one) for one in prompts)
    ids = np.full((len(prompts), longest), pad_token_id, np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(prompts):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return ids, mask
