"""Latency by tokens of a query: the queries that are timed, and what is made of the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecd.bench.exchange import AtLength, Evaluation, Timing
from edgecd.bench.lengths import CALLS, long_texts, of_length, time_lengths
from edgecd.bench.report.beside import CHECKPOINT, with_peers
from edgecd.bench.report.record import Latency, Row
from edgecd.bench.report.rows import Measured
from edgecd.bench.systems.base import Fields, Metadata, System
from edgecd.errors import InputError
from edgecd.tasks.encoding import Encoded

METADATA = Metadata("onnxruntime", "1", "cpu", "int8", 1, 1, 0, 1.0, 1.0)
TIMING = Timing(METADATA, 1, 1.0, (1.0,), ((0.0, 1.0),), None, 1, None, 5.0, ())


class Words:
    """Reads three tokens of template and one a word, at most 20; remembers what it was asked."""

    labels = ("yes", "no")

    def __init__(self) -> None:
        self.asked: list[Fields] = []

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        counts = [3 + sum(len(text.split()) for text in one.values()) for one in inputs]
        return [Encoded(list(range(min(count, 20))), count > 20) for count in counts]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        self.asked += inputs
        return np.zeros((len(inputs), 2), np.float32)


def test_a_query_is_as_long_as_asked_and_no_longer() -> None:
    (text, *_) = long_texts([{"a": "one two", "b": "three"}, {"a": "four", "b": "five"}], 64)
    found = of_length(Words(), text, 13)
    assert found == {"a": "one two four one two", "b": "three five three five three"}
    # A field more a step: 12 tokens cannot be had, and 13 would be too many.
    assert len(Words().encode([of_length(Words(), text, 12) or {}])[0].ids) == 11
    assert len(Words().encode([of_length(Words(), text, 20) or {}])[0].ids) == 19
    assert of_length(Words(), text, 4) is None
    with pytest.raises(InputError, match="an empty field"):
        long_texts([{"a": "one", "b": " "}], 64)


def test_each_length_is_timed_but_those_that_the_template_is_over() -> None:
    answerer = Words()
    found = time_lengths(answerer, long_texts([{"a": "one"}, {"a": "two"}], 32), (2, 8, 16))
    assert list(found) == ["8", "16"]
    assert (found["8"].tokens, len(found["16"].latency_ms)) == (8, CALLS)
    assert len(answerer.asked) == 2 * (1 + CALLS)


def measured(name: str, kind: Any, rounds: Sequence[float], scores: Any) -> Measured:
    timings = [replace(TIMING, lengths={"8": AtLength(8, (ms, ms))}) for ms in rounds]
    evaluation = Evaluation(("yes", "no"), {"main": scores}, None, 1.0, 1)
    return Measured(System(name, kind, "student", "model", None), timings, evaluation)


def test_ratios_are_taken_round_by_round_and_labels_from_the_checkpoint() -> None:
    systems = [
        measured(CHECKPOINT, "peer", [2, 200, 2], ((1.0, 0.0), (1.0, 0.0), (0.0, 1.0))),
        measured("int8", "bundle", [1, 100, 4], ((2.0, 0.0), (float("nan"), 0.0), (1.0, 0.5))),
        measured("another-run", "bundle", [1, 1, 1], ((2.0, 0.0),) * 3),
    ]
    rows = [
        Row(
            system=one.system.name,
            kind=one.system.kind,
            role="student",
            precision="int8",
            runtime="onnxruntime",
            latency_ms=Latency(1.0),
        )
        for one in systems
    ]
    checkpoint, int8, other = with_peers(rows, systems, "main", {"int8"})
    # The disturbed round says the same, and the odd one is outvoted.
    assert (checkpoint.lengths["8"].ratio, checkpoint.lengths["8"].p50_ms) == (2.0, 2.0)
    assert int8.lengths["8"].ratio == 1.0
    # An answer that is no number is another label.
    assert (checkpoint.labels_changed, int8.labels_changed) == (0.0, 2 / 3)
    assert other.labels_changed is None
