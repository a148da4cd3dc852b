"""A second opinion on the same labels: a linear classifier over the untrained student's embeddings.

A prompted language model and a sentence encoder err on different texts, so their log-probabilities
added up are often better than either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecd.tasks.demonstrations import Demonstrations
from edgecd.tasks.linear import fit_head
from edgecd.tasks.metrics import log_softmax


def opinions(
    embeddings: NDArray[np.float32], labelled: Demonstrations, labels: Sequence[str], asked: int
) -> NDArray[np.float64]:
    """Log-probabilities of the first `asked` embeddings, [asked, labels].

    `embeddings` [asked + labelled, width] end with those of the labelled examples.
    """
    everyone = list(range(len(labelled)))
    return _fit_and_ask(embeddings[asked:], labelled, labels, everyone, embeddings[:asked])


def left_out_opinions(
    embeddings: NDArray[np.float32],
    labelled: Demonstrations,
    labels: Sequence[str],
    contexts: Sequence[Demonstrations],
) -> NDArray[np.float64]:
    """Of each labelled example, by classifiers that learned from a context without it.

    `embeddings` [labelled, width]; the result [labelled, labels] is the mean over those contexts,
    and nothing is known (NaN) of an example that every context shows.
    """
    total = np.zeros((len(labelled), len(labels)))
    times = np.zeros((len(labelled), 1))
    for context in contexts:
        shown = {example.id for example in context}
        inside = [place for place, one in enumerate(labelled) if one.id in shown]
        outside = [place for place, one in enumerate(labelled) if one.id not in shown]
        if outside and inside:
            found = _fit_and_ask(embeddings, labelled, labels, inside, embeddings[outside])
            total[outside] += found
            times[outside] += 1
    return np.divide(total, times, out=np.full_like(total, np.nan), where=times > 0)


def _fit_and_ask(
    embeddings: NDArray[np.float32],
    labelled: Demonstrations,
    labels: Sequence[str],
    places: Sequence[int],
    asked: NDArray[np.float32],
) -> NDArray[np.float64]:
    columns = [labels.index(str(labelled.examples[place].label)) for place in places]
    head = fit_head(embeddings[list(places)], columns, len(labels), extra="train")
    return log_softmax(head.scores(asked))
