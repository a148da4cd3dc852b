"""Whatever answers queries looks the same: a bundle, a prompt, a checkpoint, a graph, a peer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecd.tasks.encoding import Encoded

Fields = Mapping[str, str]
Progress = Callable[[int, int], None]
PART = 64


class Answerer(Protocol):
    """A loaded system that gives every label of one task a score.

    Implementations batch as their runtime likes; the order of the inputs is kept.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `logits`."""

    def encode(self, inputs: Sequence[Fields]) -> list[Encoded]:
        """The tokens that are read for each input: what is cached is not among them.

        Raises InputError for an input that lacks a field of the template.
        """

    def logits(self, inputs: Sequence[Fields]) -> NDArray[np.float32]:
        """Scores of the labels, float32 [inputs, labels], not normalised.

        Raises InputError as `encode` does.
        """


def answered(
    ask: Callable[[Sequence[Fields]], NDArray[np.float32]],
    inputs: Sequence[Fields],
    progress: Progress,
) -> NDArray[np.float32]:
    """What `ask` gives of one input or more, [inputs, labels], a part at a time, each reported."""
    parts = []
    for start in range(0, len(inputs), PART):
        parts.append(ask(inputs[start : start + PART]))
        progress(min(start + PART, len(inputs)), len(inputs))
    return np.concatenate(parts)
