"""Rounding a linear layer's weights to few bits, so that its outputs change least.

Each input channel is rounded in turn, and what it lost is made up for by the channels that are
still to come, as far as measured inputs say that they move together
(GPTQ, https://arxiv.org/abs/2210.17323).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

DAMPING = 0.01  # of the mean diagonal: channels that were hardly seen stay near their weight
_CHUNK = 64


@dataclass(frozen=True)
class Rounded:
    """`values * scales` is about the weight: int8 [in, out]; scales [in / group, out]."""

    values: NDArray[np.int8]
    scales: Array


def round_weight(
    weight: Array, levels: int, gram: Array | None = None, group: int | None = None
) -> Rounded:
    """Round a weight [in, out] to whole numbers from -levels to levels.

    One scale for each column, or for each `group` input channels of it (`in` must be a multiple).
    `gram` [in, in] is what the inputs look like (see `LinearInput`); without it, to nearest.
    """
    rows = weight.shape[0]
    group = group or rows
    scales = np.stack([_scale(weight[at : at + group], levels) for at in range(0, rows, group)])
    if gram is None:
        steps = np.repeat(scales, group, axis=0)
        return Rounded(np.rint(weight / steps).astype(np.int8), scales)
    factor = _inverse_factor(gram)
    rest = np.array(weight, np.float32)
    values = np.empty(weight.shape, np.int8)
    for begin in range(0, rows, _CHUNK):
        end = min(begin + _CHUNK, rows)
        errors = np.empty((end - begin, weight.shape[1]), np.float32)
        for row in range(begin, end):
            if group < rows and row % group == 0:  # what is made up for changes the range
                scales[row // group] = _scale(rest[row : row + group], levels)
            step = scales[row // group]
            values[row] = np.clip(np.rint(rest[row] / step), -levels, levels)
            errors[row - begin] = (rest[row] - values[row] * step) / factor[row, row]
            rest[row + 1 : end] -= factor[row, row + 1 : end, None] * errors[row - begin]
        rest[end:] -= factor[begin:end, end:].T @ errors
    return Rounded(values, scales)


def _scale(part: Array, levels: int) -> Array:
    scale = np.abs(part).max(axis=0) / np.float32(levels)
    return np.where(scale > 0, scale, np.float32(1))


def _inverse_factor(gram: Array) -> Array:
    """The upper Cholesky factor of the damped Hessian's inverse."""
    damped = gram + np.eye(len(gram), dtype=np.float32) * max(
        DAMPING * float(np.mean(np.diag(gram))), 1e-6
    )
    # Of the matrix turned around, so that one factor and its inverse are enough.
    lower = np.linalg.cholesky(damped[::-1, ::-1].astype(np.float64))
    return np.asarray(np.linalg.inv(lower[::-1, ::-1].astype(np.float32)), np.float32)
