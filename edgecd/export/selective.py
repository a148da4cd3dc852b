"""When a bundle is too unsure to answer: a threshold, and what it costs in answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import InputError


@dataclass(frozen=True)
class Selective:
    """A threshold on held-out inputs: the share that is answered, and how often rightly.

    `expected_precision` is what the probabilities promise, `precision` what labels tell, where
    there are any; both of the answered inputs alone, None where none is.
    """

    threshold: float
    answered: float
    expected_precision: float | None
    precision: float | None


def choose_threshold(probabilities: NDArray[np.float64], target: float) -> float:
    """The lowest threshold whose answers are expected to be right with the share `target`.

    `probabilities` [inputs, labels] are the model's own, and no label is needed: the expectation is
    the mean of the largest ones. Raises InputError where not even the surest input promises it.
    """
    surest = np.sort(probabilities.max(axis=-1))[::-1]
    expected = np.cumsum(surest) / np.arange(1, len(surest) + 1)
    last = np.append(surest[1:] < surest[:-1], True)  # equal ones are answered together
    # A mean of equal shares may come out a rounding below them.
    enough = np.flatnonzero((expected >= target - 1e-12) & last)
    if not len(enough):
        raise InputError(
            f"--precision-target {target:g}: not even the surest answer promises that "
            f"({surest[0]:.3f}): lower the target"
        )
    return float(surest[enough[-1]])


def measure(
    probabilities: NDArray[np.float64], gold: NDArray[np.int64], threshold: float
) -> Selective:
    """What a threshold comes to; `gold` holds the labels' columns, -1 where nobody knows one."""
    largest = probabilities.max(axis=-1)
    sure = largest >= threshold
    known = sure & (gold >= 0)
    right = probabilities.argmax(axis=-1) == gold
    return Selective(
        threshold,
        float(sure.mean()),
        float(largest[sure].mean()) if sure.any() else None,
        float(right[known].mean()) if known.any() else None,
    )
