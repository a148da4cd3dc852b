"""Calibration of a teacher's scores: head starts, class shares, contexts and second opinions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from edgecd.errors import InputError
from edgecd.tasks.demonstrations import Demonstrations, draw_contexts
from edgecd.tasks.metrics import log_softmax
from edgecd.tasks.task import Example
from edgecd.training import committee
from edgecd.training.calibration import (
    estimate_calibration,
    fit_calibration,
    match_shares,
    parse_shares,
)
from edgecd.training.targets import DrawnScores, contexts_of


def teacher(shares, count, head_start, seed=0, strength=2.0):
    """Scores of a teacher that is mostly right but for a head start, and the right columns."""
    chance = np.random.default_rng(seed)
    labels = chance.choice(len(shares), count, p=shares)
    clean = chance.normal(size=(count, len(shares)))
    clean[np.arange(count), labels] += strength
    return log_softmax(clean + np.array(head_start)), labels


def right(table, labels):
    return float((table.argmax(-1) == labels).mean())


@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=6))
@settings(max_examples=20, deadline=None)
def test_matched_shares_are_met(weights):
    shares = np.array(weights) / sum(weights)
    scores, _ = teacher(np.full(len(shares), 1 / len(shares)), 300, np.zeros(len(shares)))
    found = np.exp(match_shares([scores], shares).apply(scores)).mean(axis=0)
    np.testing.assert_allclose(found, shares, atol=0.01)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.1, 0.9)])
def test_shares_that_nobody_gave_are_estimated_from_a_few_left_out_labels(shares):
    gains = []
    for seed in range(5):
        scores, labels = teacher(shares, 800, (1.5, 0.0), seed)
        left_out, known = teacher((0.5, 0.5), 16, (1.5, 0.0), seed + 100)
        found = estimate_calibration([scores], [left_out], known)
        even = match_shares([scores], np.array([0.5, 0.5]))
        gains.append(right(found.apply(scores), labels) - right(even.apply(scores), labels))
    assert np.mean(gains) > (0.1 if shares[0] != 0.5 else -0.02)


def test_a_source_that_is_often_wrong_weighs_less_than_one_that_is_right():
    good, labels = teacher((0.5, 0.5), 400, (0.0, 0.0), seed=1, strength=4.0)
    poor, _ = teacher((0.5, 0.5), 400, (0.0, 0.0), seed=2, strength=0.0)
    found = fit_calibration([good, poor], [good[:32], poor[:32]], labels[:32])
    assert found.weights[0] > 1.5 * found.weights[1]
    assert right(found.apply(good, poor), labels) > right(good + poor, labels)


def test_given_shares_are_read_in_the_tasks_order():
    assert parse_shares("estimated", 3) is None
    np.testing.assert_allclose(parse_shares("9,1", 2), [0.9, 0.1])
    np.testing.assert_allclose(parse_shares("even", 4), np.full(4, 0.25))


@pytest.mark.parametrize("text", ["", "0.9", "0.5,0.5,0.5", "1,0", "nan,1", "-1,2", "often,rare"])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="a share above 0 for each of the 2 labels"):
        parse_shares(text, 2)


def labelled(count, labels):
    rows = [Example(str(n), {"text": f"text {n}"}, labels[n % len(labels)]) for n in range(count)]
    return Demonstrations(tuple(rows))


@given(
    st.integers(1, 24),
    st.integers(2, 6),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(1, 24)),
)
def test_contexts_hold_each_label_and_example_as_often_as_any_other(count, kinds, draws, size):
    labels = [f"label {n}" for n in range(kinds)]
    have = labelled(count, labels)
    contexts = draw_contexts(have, labels, size, draws, seed=3)
    assert contexts == draw_contexts(have, labels, size, draws, seed=3)
    assert len(contexts) == draws
    for context in contexts:
        names = [one.id for one in context]
        assert len(set(names)) == len(names) and set(names) <= {one.id for one in have}
        times = [
            [one.label for one in context].count(label) for label in labels[: min(count, kinds)]
        ]
        assert max(times) - min(times) <= 1 + (count % kinds > 0)
    if size is None:
        assert contexts[0] == have
        if count >= 2 * kinds and draws > 1:
            assert len(contexts[1]) == count - kinds


def test_an_inputs_contexts_depend_on_its_id_alone():
    assert contexts_of("a", 8, 2) == contexts_of("a", 8, 2)
    assert contexts_of("a", 8, 99) == [(contexts_of("a", 8, 1)[0] + n) % 8 for n in range(8)]
    times = np.bincount([contexts_of(f"train-{n}", 8, 1)[0] for n in range(4000)])
    assert times.min() > 400


def test_contexts_with_head_starts_of_their_own_are_made_comparable():
    chance = np.random.default_rng(0)
    truth = chance.normal(size=(400, 2))
    values = np.full((400, 4, 2), np.nan, np.float32)
    for number, own in enumerate(([2, 0], [0, 2], [0, 0], [1, 0])):
        rows = np.arange(400) % 4 == number
        values[rows, number] = truth[rows] + own
    even = DrawnScores(values).without_head_starts(400).mean
    gap, true_gap = even[:, 0] - even[:, 1], truth[:, 0] - truth[:, 1]
    assert np.corrcoef(gap, true_gap)[0, 1] > 0.98
    assert np.isnan(DrawnScores(np.full((1, 2, 2), np.nan, np.float32)).mean).all()


def test_a_second_opinion_never_saw_the_example_that_it_is_about():
    labels = ["a", "b"]
    have = labelled(8, labels)
    chance = np.random.default_rng(1)
    noise = chance.normal(size=(8, 64)).astype(np.float32)  # nothing to learn but the examples
    contexts = draw_contexts(have, labels, None, 9, seed=0)
    found = committee.left_out_opinions(noise, have, labels, contexts)
    columns = [labels.index(str(one.label)) for one in have]
    seen = committee.opinions(np.vstack([noise, noise]), have, labels, 8)
    assert right(seen, columns) == 1.0 and right(found, columns) < 1.0
    everything = committee.left_out_opinions(noise, have, labels, [have])
    assert np.isnan(everything).all()
