"""Measures of a classifier's answers, in numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgecd.errors import InputError

ECE_BINS = 15
RESAMPLES = 2_000


def shaped(scores: Any, rows: int, labels: int, who: str) -> NDArray[np.float32]:
    """Scores as they must be, float32 [rows, labels]; else InputError, naming `who` gave them."""
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float32:
        raise InputError(f"{who} gives {type(scores).__name__} instead of scores in float32")
    if scores.shape != (rows, labels):
        raise InputError(
            f"{who} gives scores of the shape {list(scores.shape)} for {rows} inputs and {labels} "
            "labels"
        )
    return scores


def finite(scores: NDArray[np.float32], who: str, cure: str) -> NDArray[np.float32]:
    """The same scores, of any shape; InputError where one is no number (NaN, or infinite)."""
    if not np.isfinite(scores).all():
        raise InputError(f"{who} gives scores that are no numbers, so there is no label: {cure}")
    return scores


def accuracy(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Share of answers that are right; InputError when empty or of different lengths."""
    ours, theirs = _pair(predicted, expected)
    return float(np.mean(ours == theirs))


def agreement(one: ArrayLike, other: ArrayLike) -> float:
    """Share of inputs that two systems give the same label."""
    return accuracy(one, other)


def macro_f1(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Unweighted mean of each label's F1, over the labels that occur in either sequence."""
    ours, theirs = _pair(predicted, expected)
    scores = []
    for label in np.union1d(ours, theirs):
        both = np.sum((ours == label) & (theirs == label))
        scores.append(2 * both / (np.sum(ours == label) + np.sum(theirs == label)))
    return float(np.mean(scores))


def confusion_matrix(predicted: ArrayLike, expected: ArrayLike, labels: int) -> NDArray[np.int64]:
    """How often an input of each label got each answer: int64 [right label, answer].

    Both hold columns of `labels`; InputError when empty or of different lengths.
    """
    ours, theirs = _pair(predicted, expected)
    table = np.zeros((labels, labels), np.int64)
    np.add.at(table, (theirs, ours), 1)
    return table


@dataclass(frozen=True)
class LabelQuality:
    """Of one label: inputs that have it, answers that are it, and how many of each are right.

    `recall` is None of a label that no input has, `precision` of one that is no answer.
    """

    examples: int
    answers: int
    recall: float | None
    precision: float | None


def label_quality(confusions: NDArray[np.int64]) -> list[LabelQuality]:
    """Of each label, from a table of `confusion_matrix`."""
    right, had, given = np.diag(confusions), confusions.sum(axis=1), confusions.sum(axis=0)
    return [
        LabelQuality(
            int(had[label]),
            int(given[label]),
            float(right[label] / had[label]) if had[label] else None,
            float(right[label] / given[label]) if given[label] else None,
        )
        for label in range(len(confusions))
    ]


def taken_for(confusions: NDArray[np.int64], label: int, count: int = 3) -> list[tuple[int, int]]:
    """(answer, how often) of the wrong answers that inputs of a label got most, the first first."""
    wrong = [
        (int(n), answer) for answer, n in enumerate(confusions[label]) if answer != label and n
    ]
    return [(answer, n) for n, answer in sorted(wrong, key=lambda one: -one[0])[:count]]


def expected_calibration_error(
    probabilities: ArrayLike, expected: ArrayLike, bins: int = ECE_BINS
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (arXiv 1706.04599).

    `probabilities` [examples, labels]; `expected` holds the columns of the right labels. The
    confidence is the largest probability; bin i covers (i / bins, (i + 1) / bins].
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    right, truth = _pair(rows.argmax(axis=-1), expected)
    confidence = rows.max(axis=-1)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    error = 0.0
    for number in np.unique(place):
        inside = place == number
        gap = np.mean(right[inside] == truth[inside]) - np.mean(confidence[inside])
        error += float(abs(gap) * np.mean(inside))
    return error


def bootstrap_interval(
    values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Percentile-bootstrap interval of the mean of one value per example.

    With 0/1 for wrong and right this is an accuracy's interval; with differences of two systems
    on the same examples, the paired interval of their difference. The seed fixes the result.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0:
        raise InputError("a bootstrap interval needs one value for each of one or more examples")
    chance = np.random.default_rng(seed)
    count = len(sample)
    means = [sample[chance.integers(0, count, count)].mean() for _ in range(resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Spread:
    """Mean of some values, their sample standard deviation (None for one value), their number."""

    mean: float
    sd: float | None
    n: int


def mean_and_spread(values: Sequence[float]) -> Spread:
    """Of one value or more, as from several seeds."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd, len(values))


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences between two systems, and its 95% interval (low, high)."""

    difference: float
    ci95: tuple[float, float]


def paired_difference(gaps: NDArray[np.float64]) -> Difference:
    """Of one difference for each pair, [pairs]; the interval is `bootstrap_interval`'s.

    Raises InputError when there are none.
    """
    interval = bootstrap_interval(gaps)
    return Difference(float(gaps.mean()), interval)


def mcnemar_p(one_right: ArrayLike, other_right: ArrayLike) -> float:
    """Two-sided exact McNemar test: the chance of so uneven a split if both were equally good.

    Both are true where that system is right, on the same examples. Of the examples on which
    only one is right, each is as likely to be the one's as the other's under the hypothesis
    (https://doi.org/10.1007/BF02295996, the exact binomial form).
    """
    ours, theirs = _pair(one_right, other_right)
    ours, theirs = ours.astype(bool), theirs.astype(bool)
    only_ours, only_theirs = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    count, fewer = only_ours + only_theirs, min(only_ours, only_theirs)
    # Whole numbers of any size: exact, and divided only at the end.
    tail = sum(math.comb(count, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**count))


def log_softmax(scores: ArrayLike) -> NDArray[np.float64]:
    """Log-probabilities of scores [examples, labels], each row by itself, in float64."""
    rows = np.asarray(scores, dtype=np.float64)
    shifted = rows - rows.max(axis=-1, keepdims=True)
    normal: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normal


def label_calibration(log_probabilities: ArrayLike) -> NDArray[np.floating[Any]]:
    """Each label's mean log-probability over inputs whose labels nobody saw: [labels].

    It is the head start that a label has whatever the input (arXiv 2305.19148), to be taken off
    with `calibrate_labels`. `log_probabilities` [inputs, labels] are those of one input or more.
    """
    means: NDArray[np.floating[Any]] = np.asarray(log_probabilities).mean(axis=0)
    return means


def calibrate_labels(log_probabilities: ArrayLike, head_start: ArrayLike) -> NDArray[np.float64]:
    """Log-probabilities [examples, labels] without each label's head start, normalised again.

    `head_start` [labels] is from `label_calibration`. No label of an example is needed.
    """
    return log_softmax(np.asarray(log_probabilities) - np.asarray(head_start))


def _pair(one: ArrayLike, other: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    ours, theirs = np.asarray(one), np.asarray(other)
    if ours.shape != theirs.shape or ours.ndim != 1 or len(ours) == 0:
        raise InputError(
            f"cannot compare answers of shapes {ours.shape} and {theirs.shape}: "
            "there must be as many of both, and at least one"
        )
    return ours, theirs
