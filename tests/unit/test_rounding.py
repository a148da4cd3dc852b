"""Rounded weights: whole numbers within their levels, and outputs that change least."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecd.export.rounding import DAMPING, Rounded, round_weight


def weight(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def correlated(rows: int, width: int, outlier: float = 1.0, seed: int = 1) -> np.ndarray:
    """Inputs [rows, width] that mix a few hidden causes; one channel is `outlier` times larger."""
    rng = np.random.default_rng(seed)
    mix = weight(max(2, width // 8), width, seed=0)
    inputs = weight(rows, len(mix), seed) @ mix + 0.3 * rng.normal(size=(rows, width))
    inputs[:, width // 2] *= outlier
    return inputs.astype(np.float32)


def restored(rounded: Rounded) -> np.ndarray:
    group = len(rounded.values) // len(rounded.scales)
    return rounded.values * np.repeat(rounded.scales, group, axis=0)


def output_error(inputs: np.ndarray, whole: np.ndarray, rounded: Rounded) -> float:
    return float(np.square(inputs @ (restored(rounded) - whole)).sum())


cases = st.tuples(
    st.integers(1, 40),  # groups of 4 input channels
    st.integers(1, 6),  # columns
    st.integers(0, 1000),  # seed
    st.sampled_from([7, 63, 127]),
    st.sampled_from([None, 4, 8, "all"]),
    st.sampled_from(["none", "random", "one token", "nothing seen", "outlier"]),
)


@settings(max_examples=80, deadline=None)
@given(case=cases)
def test_values_are_within_their_levels_and_scales_have_their_shape(case: tuple) -> None:
    blocks, columns, seed, levels, group, kind = case
    rows = 8 * blocks
    whole = weight(rows, columns, seed)
    whole[:, seed % columns] *= seed % 3  # a column of zeros, now and then
    inputs = {
        "none": None,
        "random": weight(3 * rows, rows, seed),
        "one token": weight(1, rows, seed),
        "nothing seen": np.zeros((1, rows), np.float32),
        "outlier": correlated(16, rows, 1e4),
    }[kind]
    gram = None if inputs is None else inputs.T @ inputs
    size = rows if group == "all" else group
    rounded = round_weight(whole, levels, gram, size)
    assert rounded.values.dtype == np.int8 and rounded.values.shape == whole.shape
    assert rounded.scales.dtype == np.float32
    assert rounded.scales.shape == (rows // (size or rows), columns)
    assert np.abs(rounded.values.astype(int)).max() <= levels
    assert np.isfinite(rounded.scales).all() and (rounded.scales > 0).all()
    zero = ~whole.any(axis=0)
    assert not rounded.values[:, zero].any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.sampled_from([7, 63, 127]))
def test_without_a_gram_it_is_the_nearest(seed: int, levels: int) -> None:
    whole = weight(64, 5, seed)
    for group in (None, 16, 32):
        rounded = round_weight(whole, levels, group=group)
        steps = np.repeat(rounded.scales, group or 64, axis=0)
        assert (np.abs(restored(rounded) - whole) <= 0.5001 * steps).all()
        largest = np.abs(rounded.values.reshape(-1, group or 64, 5)).max(axis=1)
        assert (largest == levels).all(), "the scale wastes levels"


@pytest.mark.parametrize("group", [None, 32])
def test_channels_that_do_not_move_together_are_rounded_to_the_nearest(group: int | None) -> None:
    whole = weight(160, 9)
    gram = np.diag(np.linspace(0.1, 10, 160)).astype(np.float32)
    told, blind = (round_weight(whole, 7, x, group) for x in (gram, None))
    np.testing.assert_array_equal(told.values, blind.values)
    np.testing.assert_array_equal(told.scales, blind.scales)


# Damping is a share of the largest channels, so one that is far larger leaves less to gain.
@pytest.mark.parametrize(("outlier", "share"), [(1.0, 0.6), (1000.0, 0.95)])
@pytest.mark.parametrize("group", [None, 32])
@pytest.mark.parametrize("levels", [7, 127])
def test_outputs_of_correlated_inputs_change_less(
    levels: int, group: int | None, outlier: float, share: float
) -> None:
    whole, seen = weight(160, 24), correlated(400, 160, outlier)
    told = round_weight(whole, levels, seen.T @ seen, group)
    blind = round_weight(whole, levels, None, group)
    for inputs in (seen, correlated(400, 160, outlier, seed=2)):
        assert output_error(inputs, whole, told) < share * output_error(inputs, whole, blind)


def test_it_is_the_textbooks_algorithm() -> None:
    """One row at a time, with the inverse Hessian of what is left worked out anew for each."""
    whole, inputs = weight(80, 12), correlated(200, 80)
    gram = inputs.T @ inputs
    rounded = round_weight(whole, 7, gram)
    hessian = gram + np.eye(80) * DAMPING * np.mean(np.diag(gram))
    rest, scale = whole.astype(np.float64), rounded.scales[0].astype(np.float64)
    expected = np.empty(whole.shape)
    for row in range(80):
        expected[row] = np.clip(np.rint(rest[row] / scale), -7, 7)
        inverse = np.linalg.inv(hessian[row:, row:])
        lost = (rest[row] - expected[row] * scale) / inverse[0, 0]
        rest[row:] -= inverse[:, :1] * lost
    assert (rounded.values == expected).mean() > 0.99


def test_the_weight_given_is_left_as_it_was() -> None:
    whole, inputs = weight(64, 4), correlated(100, 64)
    before = whole.copy()
    round_weight(whole, 7, inputs.T @ inputs, 32)
    np.testing.assert_array_equal(whole, before)
