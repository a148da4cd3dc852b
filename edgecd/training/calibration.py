"""Raw label scores as probabilities: weighted, without head starts, by estimated class shares.

A language model gives every label a head start, whatever the input. Taking off its mean score
(arXiv 2305.19148) assumes that all labels are equally frequent; matching other shares needs to know
them. Here they are estimated: labelled examples, each scored where it was not shown, say what
scores a label's own inputs get; unlabelled ones say how many of those there must be. The same
examples say how much each source of scores is to be trusted (arXiv 1706.04599 for one of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgecd.errors import InputError
from edgecd.tasks.metrics import log_softmax

ESTIMATED, EVEN = "estimated", "even"
# A Dirichlet prior for even shares weighs so many examples in all.
_PRIOR_EXAMPLES = 3.0
# Other shares than even ones must make the labelled examples so much more probable, as a logarithm.
# With 12 labels of six classes even ones gain 1 by chance, and where two thirds are of one class 3
# to 5.
_EVIDENCE = 2.0
# The usual distance of a source's weight from 1, in natural logarithms, before an example is seen.
_PRIOR_WEIGHT = 0.5
_MOST_INPUTS = 2_000
_ROUNDS, _STEPS, _RATE = 30, 150, 0.1


@dataclass(frozen=True)
class Calibration:
    """What scores are worth: a weight for each source, offsets [labels], class shares [labels].

    `log_likelihood` is that of the labelled examples, as if all classes were equally frequent.
    """

    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    shares: NDArray[np.float64]
    log_likelihood: float = 0.0

    def apply(self, *sources: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated log-probabilities from each source's [examples, labels]."""
        return log_softmax(np.tensordot(self.weights, np.stack(sources), 1) + self.offsets)


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
    sources: Sequence[NDArray[np.floating]], shares: NDArray[np.float64]
) -> Calibration:
    """Offsets after which the mean probabilities of the inputs are `shares`; all weights are 1.

    `sources` are log-probabilities [inputs, labels] from one or more models, to be added up.
    """
    total = _stacked(sources)[:, :_MOST_INPUTS].sum(0)
    offsets = _match(total, torch.from_numpy(shares).log())
    return Calibration(np.ones(len(sources)), offsets.numpy(), shares)


def estimate_calibration(
    sources: Sequence[NDArray[np.floating]],
    left_out: Sequence[NDArray[np.floating]],
    labels: NDArray[np.int64],
) -> Calibration:
    """The calibration of even class shares, or of others where the evidence for them is strong.

    Arguments as of `fit_calibration`. Wrong shares cost a few points where the true ones are even,
    and even ones tens of points where they are far from it.
    """
    count = sources[0].shape[-1]
    even = fit_calibration(sources, left_out, labels, np.full(count, 1 / count))
    free = fit_calibration(sources, left_out, labels)
    return free if free.log_likelihood > even.log_likelihood + _EVIDENCE else even


def fit_calibration(
    sources: Sequence[NDArray[np.floating]],
    left_out: Sequence[NDArray[np.floating]],
    labels: NDArray[np.int64],
    shares: NDArray[np.float64] | None = None,
) -> Calibration:
    """Weights, offsets and shares from inputs without labels and from labelled ones.

    `sources` [inputs, labels] are the former's log-probabilities from each model, `left_out`
    [examples, labels] those of the latter where they were not shown; `labels` [examples] are their
    columns. The weights and shares win that make the labelled examples most probable, where every
    class counts the same, with priors for weights of 1 and even shares; for any of them the offsets
    are those that match the shares. Given `shares` are kept.
    """
    inputs, shown = _stacked(sources)[:, :_MOST_INPUTS], _stacked(left_out)
    truth = torch.from_numpy(labels)
    count = inputs.shape[-1]
    times = 1 / torch.bincount(truth, minlength=count).clamp_min(1)[truth].double()
    times = times * len(truth) / times.sum()
    even = np.full(count, 1 / count)
    logits = torch.from_numpy(np.log(even if shares is None else shares))
    logits.requires_grad_(shares is None)
    powers = torch.zeros(len(inputs), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([powers, *([logits] if shares is None else [])], lr=_RATE)
    for _ in range(_STEPS):
        weights, known = powers.exp(), torch.log_softmax(logits, -1)
        offsets = _match(torch.tensordot(weights, inputs, 1), known)
        # As if all labels were equally frequent, as they are among the examples
        scores = torch.tensordot(weights, shown, 1) + offsets - known
        loss = torch.nn.functional.cross_entropy(scores, truth, reduction="none") @ times
        prior = _PRIOR_EXAMPLES * known.mean() - (powers / _PRIOR_WEIGHT).square().sum() / 2
        optimizer.zero_grad()
        (loss - prior).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        weights, known = powers.exp(), torch.log_softmax(logits, -1)
        offsets = _match(torch.tensordot(weights, inputs, 1), known)
        scores = torch.tensordot(weights, shown, 1) + offsets - known
        likely = -torch.nn.functional.cross_entropy(scores, truth, reduction="sum")
    return Calibration(weights.numpy(), offsets.numpy(), known.exp().numpy(), float(likely))


def _match(inputs: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Offsets [labels] with which the inputs' mean probabilities come to exp(`shares`)."""
    offsets = shares
    for _ in range(_ROUNDS):
        found = torch.log_softmax(inputs + offsets, -1).logsumexp(0) - np.log(len(inputs))
        offsets = offsets + shares - found
    return offsets


def _stacked(sources: Sequence[NDArray[np.floating]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(sources).astype(np.float64))
