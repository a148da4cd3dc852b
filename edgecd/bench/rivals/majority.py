"""The most frequent label of the examples, whatever is asked; of several the task's first one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Lesson, Spec
from edgecd.bench.rivals.head import Learned, folder_bytes
from edgecd.bench.systems.base import Fields
from edgecd.files import read_json, write_json
from edgecd.tasks.encoding import Encoded

PACKAGE, RUNTIME, PRECISION = "numpy", "numpy", "fp32"
SHARES = "shares.json"


@dataclass(frozen=True)
class Majority:
    """The same scores for every input: log-shares of the labels, float32 [labels]."""

    labels: tuple[str, ...]
    scores: NDArray[np.float32]

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """Nothing is read."""
        return [Encoded([], False) for _ in inputs]

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels]."""
        return np.tile(self.scores, (len(inputs), 1))


def train(lesson: Lesson, folder: Path) -> None:
    """Count the labels."""
    found = [label for _, label in lesson.labelled]
    write_json(folder / SHARES, {label: found.count(label) for label in lesson.verbalizer})


def imports() -> None:
    """What answering takes."""
    importlib.import_module("numpy")


def load(spec: Spec, folder: Path) -> Learned:
    """Log-shares, with one more example of each label, so that none has a share of zero."""
    counts = read_json(folder / SHARES)
    shares = np.array(list(counts.values()), np.float64) + 1
    scores = np.log(shares / shares.sum()).astype(np.float32)
    answerer = Majority(tuple(counts), scores)
    return Learned(answerer, 1, len(counts), folder_bytes(folder))
