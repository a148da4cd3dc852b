"""Bundles next to other runtimes: latency by tokens of a query, and labels that one changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Evaluation
from edgecd.bench.report.record import AtLength, Row
from edgecd.bench.report.rows import Measured, median_ratio

# The peer that runs a run's checkpoint as PyTorch does, in full precision.
CHECKPOINT = "torch-fp32"


def with_peers(
    rows: Sequence[Row], measured: Sequence[Measured], name: str, siblings: Collection[str]
) -> tuple[Row, ...]:
    """The rows, each with its latency by length and the share of labels that it changes.

    Ratios are to the first bundle. Labels are compared on the set `name` with those of the peer
    CHECKPOINT, for peers and for the bundles of the same run (`siblings`).
    """
    by_name = {one.system.name: one for one in measured}
    first = next((one for one in measured if one.system.kind == "bundle"), None)
    checkpoint = by_name.get(CHECKPOINT)
    right = None if checkpoint is None else _labels(checkpoint.evaluation, name)
    found = []
    for row in rows:
        one = by_name[row.system]
        row = replace(row, lengths=_lengths(one, first))
        if right is not None and (row.kind == "peer" or row.system in siblings):
            own = _labels(one.evaluation, name)
            if own is not None and len(own) == len(right):
                row = replace(row, labels_changed=float(np.mean(own != right)))
        found.append(row)
    return tuple(found)


def _lengths(one: Measured, first: Measured | None) -> Mapping[str, AtLength]:
    """By length, in the order of the timing; a ratio only in rounds that timed both."""
    found = {}
    for length in one.rounds[0].lengths:
        rounds = [timing.lengths[length] for timing in one.rounds if length in timing.lengths]
        both = zip(one.rounds, first.rounds if first else (), strict=False)
        found[length] = AtLength(
            tokens=rounds[0].tokens,
            p50_ms=median(value for timing in rounds for value in timing.latency_ms),
            ratio=median_ratio(
                (ours.lengths[length].latency_ms, theirs.lengths[length].latency_ms)
                for ours, theirs in both
                if length in ours.lengths and length in theirs.lengths
            ),
        )
    return found


def _labels(evaluation: Evaluation | None, name: str) -> NDArray[np.str_] | None:
    """The labels of one set's answers; an answer that is no number is no label."""
    if evaluation is None or name not in evaluation.scores:
        return None
    scores = np.array(evaluation.scores[name])
    names = np.array([*evaluation.labels, ""])
    places = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), len(names) - 1)
    chosen: NDArray[np.str_] = names[places]
    return chosen
