"""A teacher's raw label scores as probabilities: without head starts, by estimated class shares.

A language model gives every label a head start, whatever the input. Taking off its mean score
(arXiv 2305.19148) assumes that all labels are equally frequent; matching other shares needs to know
them. Here they are estimated: labelled examples, each scored where it was not shown, say what
scores a label's own inputs get; unlabelled ones say how many of those there must be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.errors import InputError
from edgecd.tasks.metrics import log_softmax

ESTIMATED, EVEN = "estimated", "even"
# A Dirichlet prior for even shares weighs so many examples in all. In simulations with 12 to 16
# labelled examples half of it helps skewed tasks little more, and twice as much does not help them.
_PRIOR = 3.0
_MOST_INPUTS = 2_000
_ROUNDS, _STEPS = 30, 150


@dataclass(frozen=True)
class Calibration:
    """What is added to log-probabilities, [labels], and the class shares [labels] behind it."""

    offsets: NDArray[np.float64]
    shares: NDArray[np.float64]

    def apply(self, log_probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated log-probabilities of [examples, labels]."""
        return log_softmax(log_probabilities + self.offsets)


def parse_shares(text: str, labels: int) -> NDArray[np.float64] | None:
    """The shares that `--class-shares` gives, [labels]; None where they are to be estimated.

    Raises InputError for what is neither a word known here nor one share a label.
    """
    if text == ESTIMATED:
        return None
    if text == EVEN:
        return np.full(labels, 1 / labels)
    try:
        shares = np.array([float(one) for one in text.split(",")])
    except ValueError:
        shares = np.array([])
    if len(shares) != labels or not np.isfinite(shares).all() or not (shares > 0).all():
        raise InputError(
            f"--class-shares {text}: write {ESTIMATED}, {EVEN}, or a share above 0 for each of the "
            f"{labels} labels with commas between, in the order of [labels]"
        )
    normal: NDArray[np.float64] = shares / shares.sum()
    return normal


def match_shares(
    log_probabilities: NDArray[np.floating], shares: NDArray[np.float64]
) -> Calibration:
    """Offsets after which the mean probabilities of the inputs [inputs, labels] are `shares`."""
    offsets = _match(torch.from_numpy(_some(log_probabilities)), torch.from_numpy(shares).log())
    return Calibration(offsets.numpy(), shares)


def estimate_shares(
    log_probabilities: NDArray[np.floating],
    left_out: NDArray[np.floating],
    labels: NDArray[np.int64],
) -> Calibration:
    """Offsets and shares from inputs without labels and from labelled ones.

    `log_probabilities` [inputs, labels] are the former's, `left_out` [examples, labels] those of
    the latter where they were not shown; `labels` [examples] are their columns. The shares that
    make the labelled examples most probable win, where every class counts the same, with a prior
    for even ones; for any shares the offsets are those that match them.
    """
    inputs, shown = torch.from_numpy(_some(log_probabilities)), torch.from_numpy(_double(left_out))
    truth = torch.from_numpy(labels)
    count = inputs.shape[1]
    weights = 1.0 / torch.bincount(truth, minlength=count).clamp_min(1)[truth].double()
    weights = weights * len(truth) / weights.sum()
    logits = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(_STEPS):
        shares = torch.log_softmax(logits, -1)
        alike = shown + _match(inputs, shares) - shares  # as if all labels were equally frequent
        loss = torch.nn.functional.cross_entropy(alike, truth, reduction="none") @ weights
        optimizer.zero_grad()
        (loss - _PRIOR * shares.mean()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    shares = torch.log_softmax(logits.detach(), -1)
    return Calibration(_match(inputs, shares).numpy(), shares.exp().numpy())


def _match(inputs: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Offsets [labels] with which the inputs' mean probabilities come to exp(`shares`)."""
    offsets = shares
    for _ in range(_ROUNDS):
        found = torch.log_softmax(inputs + offsets, -1).logsumexp(0) - np.log(len(inputs))
        offsets = offsets + shares - found
    return offsets


def _some(table: NDArray[np.floating]) -> NDArray[np.float64]:
    return _double(table[:_MOST_INPUTS])


def _double(table: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.ascontiguousarray(table, dtype=np.float64)
