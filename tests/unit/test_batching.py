"""Batches of like lengths: every place once, within the limits, in the order that is asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgecd.tasks.batching import batches, padded


@given(
    lengths=st.lists(st.integers(1, 60), max_size=40),
    rows=st.integers(1, 9),
    tokens=st.none() | st.integers(1, 200),
    longest_first=st.booleans(),
)
def test_each_place_comes_once_within_the_limits_and_in_order(lengths, rows, tokens, longest_first):
    made = list(batches(lengths, rows, tokens, longest_first))
    places = [place for batch in made for place in batch]
    assert sorted(places) == list(range(len(lengths)))
    assert [lengths[place] for place in places] == sorted(lengths, reverse=longest_first)
    for batch in made:
        longest = max(lengths[place] for place in batch)
        assert len(batch) <= rows
        assert tokens is None or len(batch) == 1 or len(batch) * longest <= tokens


def test_padding_is_on_the_right_and_masked():
    ids, mask = padded([[5, 6, 7], [8]], 0)
    np.testing.assert_array_equal(ids, [[5, 6, 7], [8, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 0]])
    assert ids.dtype == mask.dtype == np.int64
