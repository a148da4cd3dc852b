"""Thresholds: when a bundle would rather not answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.export.selective import choose_threshold, measure

SHARES = st.lists(st.floats(0.5, 1.0), min_size=1, max_size=60)


def rows(largest):
    return np.array([[share, 1 - share] for share in largest])


@given(SHARES, st.floats(0.5, 1.0))
@example([0.8394770218414205] * 3, 0.8394770218414205)
def test_a_target_is_kept_with_as_many_answers_as_it_allows(largest, target):
    table = rows(largest)
    try:
        threshold = choose_threshold(table, target)
    except InputError:
        assert max(largest) < target
        return
    gold = np.full(len(table), -1)
    found = measure(table, gold, threshold)
    assert found.expected_precision >= target - 1e-9 and found.precision is None
    more = [share for share in largest if share < threshold]
    if more:
        assert measure(table, gold, max(more)).expected_precision < target + 1e-9


def test_labels_tell_what_the_answers_are_worth():
    found = measure(rows([0.9, 0.8, 0.6, 0.95]), np.array([0, 1, 0, -1]), 0.75)
    assert found.answered == 0.75 and found.precision == 0.5
    nothing = measure(rows([0.6]), np.array([0]), 0.9)
    assert (nothing.answered, nothing.precision, nothing.expected_precision) == (0.0, None, None)


def test_a_target_out_of_reach_is_refused():
    with pytest.raises(InputError, match=r"the surest answer promises that \(0.700\)"):
        choose_threshold(rows([0.6, 0.7]), 0.99)
