"""Metrics against known values and against what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.errors import InputError
from edgecd.tasks.metrics import (
    accuracy,
    agreement,
    bootstrap_interval,
    calibrate_labels,
    expected_calibration_error,
    label_calibration,
    log_softmax,
    macro_f1,
    mcnemar_p,
)

answers = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1)
scores = st.lists(
    st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=40
).map(np.array)


def test_known_accuracy_and_f1() -> None:
    predicted, expected = ["a", "a", "b", "b", "c"], ["a", "b", "b", "b", "a"]
    assert accuracy(predicted, expected) == pytest.approx(0.6)
    # F1: a 2*1/(2+2), b 2*2/(2+3), c 0
    assert macro_f1(predicted, expected) == pytest.approx((0.5 + 0.8 + 0.0) / 3)


def test_a_label_that_nobody_used_does_not_lower_f1() -> None:
    assert macro_f1(["a", "b"], ["a", "b"]) == 1.0


@given(answers)
def test_agreement_is_symmetric_and_one_with_itself(pairs: list[tuple[str, str]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    assert agreement(one, other) == agreement(other, one)
    assert agreement(one, one) == macro_f1(one, one) == 1.0
    assert 0 <= macro_f1(one, other) <= 1


@given(answers, st.randoms())
def test_order_of_the_examples_does_not_matter(pairs: list[tuple[str, str]], chance) -> None:  # type: ignore[no-untyped-def]
    mixed = list(pairs)
    chance.shuffle(mixed)
    for measure in (accuracy, macro_f1):
        assert measure(*zip(*pairs, strict=True)) == pytest.approx(
            measure(*zip(*mixed, strict=True))
        )


def test_known_calibration_error() -> None:
    # Two answers at 0.9 (one right) and two at 0.6 (both right): gaps 0.4 and 0.4.
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]
    assert expected_calibration_error(probabilities, [0, 1, 0, 1]) == pytest.approx(0.4)


def test_calibration_error_is_zero_for_sure_and_right_and_one_for_sure_and_wrong() -> None:
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert expected_calibration_error(sure, [0, 1, 2, 0]) == 0
    assert expected_calibration_error(sure, [1, 2, 0, 1]) == 1


def test_calibration_bins_are_of_equal_width() -> None:
    # 0.55 and 0.65 lie in one of five bins (0.4, 0.6], (0.6, 0.8] or in two of ten.
    probabilities = [[0.62, 0.38], [0.78, 0.22]]
    assert expected_calibration_error(probabilities, [0, 1], bins=5) == pytest.approx(0.2)
    assert expected_calibration_error(probabilities, [0, 1], bins=10) == pytest.approx(
        (0.38 + 0.78) / 2
    )


@given(scores)
def test_calibration_error_is_a_share(rows: np.ndarray) -> None:
    probabilities = np.exp(log_softmax(rows))
    expected = [number % 3 for number in range(len(rows))]
    assert 0 <= expected_calibration_error(probabilities, expected) <= 1


@given(scores, st.floats(-100, 100))
def test_log_softmax_is_normal_and_ignores_a_shift(rows: np.ndarray, shift: float) -> None:
    normal = log_softmax(rows)
    assert np.exp(normal).sum(axis=1) == pytest.approx(1)
    assert log_softmax(rows + shift) == pytest.approx(normal, abs=1e-9)


@settings(max_examples=25)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 5))
def test_interval_is_seeded_and_holds_the_middle(values: list[bool], seed: int) -> None:
    low, high = bootstrap_interval(values, seed, resamples=400)
    assert (low, high) == bootstrap_interval(values, seed, resamples=400)
    assert 0 <= low <= high <= 1
    assert low - 0.05 <= np.mean(values) <= high + 0.05


def test_interval_matches_the_normal_approximation() -> None:
    values = [1] * 800 + [0] * 200
    low, high = bootstrap_interval(values)
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert low == pytest.approx(0.8 - half, abs=0.004)
    assert high == pytest.approx(0.8 + half, abs=0.004)
    assert bootstrap_interval(values, seed=1) != (low, high)


def test_more_examples_narrow_the_interval() -> None:
    few = bootstrap_interval([0, 1] * 20)
    many = bootstrap_interval([0, 1] * 500)
    assert many[1] - many[0] < (few[1] - few[0]) / 3


@pytest.mark.parametrize("pair", [([], []), (["a"], ["a", "b"])])
def test_what_cannot_be_compared_is_refused(pair: tuple[list[str], list[str]]) -> None:
    with pytest.raises(InputError):
        accuracy(*pair)
    with pytest.raises(InputError):
        bootstrap_interval([])


PAIRS = st.integers(1, 300).flatmap(
    lambda count: st.tuples(
        st.lists(st.booleans(), min_size=count, max_size=count),
        st.lists(st.booleans(), min_size=count, max_size=count),
    )
)


@settings(deadline=None)  # the first example imports scipy
@given(PAIRS)
def test_mcnemar_is_the_exact_binomial_test(pair: tuple[list[bool], list[bool]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    ours, theirs = (np.array(one) for one in pair)
    only_ours, only_theirs = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    expected = 1.0
    if only_ours + only_theirs:
        expected = stats.binomtest(only_ours, only_ours + only_theirs, 0.5).pvalue
    assert mcnemar_p(ours, theirs) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(ours, theirs) == mcnemar_p(theirs, ours)


def test_mcnemar_counts_thousands_of_examples() -> None:
    ours, theirs = np.zeros(4000, bool), np.zeros(4000, bool)
    ours[:2100], theirs[2100:] = True, True
    stats = pytest.importorskip("scipy.stats")
    assert mcnemar_p(ours, theirs) == pytest.approx(stats.binomtest(2100, 4000).pvalue)


@settings(deadline=None)  # the first example imports scikit-learn
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_accuracy_and_macro_f1_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted, expected = zip(*pairs, strict=True)
    assert accuracy(predicted, expected) == pytest.approx(
        sklearn.accuracy_score(expected, predicted)
    )
    assert macro_f1(predicted, expected) == pytest.approx(
        sklearn.f1_score(expected, predicted, average="macro")
    )


def test_the_bootstrap_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    chance = np.random.default_rng(5)
    for values in (chance.random(400) < 0.7, chance.normal(0.1, 1, 250)):
        sample = np.asarray(values, float)
        theirs = stats.bootstrap(
            (sample,), np.mean, method="percentile", n_resamples=9999, random_state=1
        ).confidence_interval
        ours = bootstrap_interval(sample)
        width = theirs.high - theirs.low
        assert ours == pytest.approx(tuple(theirs), abs=0.06 * width)


def test_a_calibrated_label_has_no_head_start():
    table = log_softmax(np.random.default_rng(0).normal([4.0, 0.0, -2.0], size=(50, 3)))
    even = calibrate_labels(table, label_calibration(table))
    np.testing.assert_allclose(np.exp(even).sum(-1), 1)
    assert set(even.argmax(-1)) == {0, 1, 2} and set(table.argmax(-1)) == {0}
    np.testing.assert_allclose(np.ptp(label_calibration(even)), 0, atol=0.2)
