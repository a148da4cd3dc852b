"""A linear classifier of few labelled examples: logistic regression as a plain head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecd.errors import require

# The weight of the examples against the penalty. With 12 to 60 examples 1, 10 and 100 give the
# same accuracy within a point; 1 leaves the probabilities nearly even.
C = 10.0
# The score of a label that no example has: far below all others, and still a number.
UNSEEN = -30.0


@dataclass(frozen=True)
class Head:
    """A linear classifier: `weight` float32 [labels, features], `bias` float32 [labels]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return self.weight.size + self.bias.size

    def scores(self, features: Any) -> NDArray[np.float32]:
        """Scores float32 [inputs, labels] of features [inputs, features], dense or sparse."""
        found: NDArray[np.float32] = np.asarray(features @ self.weight.T + self.bias, np.float32)
        return found


def fit_head(features: Any, columns: Sequence[int], labels: int, extra: str = "rivals") -> Head:
    """Logistic regression (scikit-learn) of features [examples, features], dense or sparse.

    `columns` are the examples' labels, by their places among the task's `labels`. Raises
    MissingExtra, which names the `extra`, without scikit-learn.
    """
    linear = require("sklearn.linear_model", extra)
    if len(set(columns)) == 1:
        bias = np.full(labels, UNSEEN, np.float32)
        bias[columns[0]] = 0
        return Head(np.zeros((labels, features.shape[1]), np.float32), bias)
    model = linear.LogisticRegression(C=C, max_iter=2000).fit(features, list(columns))
    return head_of(model, labels)


def head_of(model: Any, labels: int) -> Head:
    """A fitted logistic regression over places of labels as a head over all the task's `labels`."""
    weight = np.zeros((labels, model.coef_.shape[1]), np.float32)
    bias = np.full(labels, UNSEEN, np.float32)
    places = [int(place) for place in model.classes_]
    if len(places) == 2:  # it holds the second one's, over the first one's
        weight[places[1]], bias[places] = model.coef_[0], (0, model.intercept_[0])
    else:
        weight[places], bias[places] = model.coef_, model.intercept_
    return Head(weight, bias)
