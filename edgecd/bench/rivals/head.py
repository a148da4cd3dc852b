"""What rivals have in common: the text of an input, and a linear head over its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.systems.base import Demonstration, Fields
from edgecd.errors import require
from edgecd.tasks.prompts import PromptTemplate, value_of

if TYPE_CHECKING:
    from edgecd.tasks.answerer import Answerer

HEAD = "head.safetensors"
# The weight of the examples against the penalty. With 12 to 60 examples 1, 10 and 100 give the
# same accuracy within a point; 1 leaves the probabilities nearly even.
C = 10.0
# The score of a label that no example has: far below all others, and still a number.
UNSEEN = -30.0


@dataclass(frozen=True)
class Learned:
    """A rival that is ready to answer, at most `rows` inputs at once, and its size."""

    answerer: Answerer
    rows: int
    parameters: int | None
    disk_bytes: int | None
    provider: str = "cpu"


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


def fit_head(features: Any, columns: Sequence[int], labels: int) -> Head:
    """Logistic regression (scikit-learn) of features [examples, features], dense or sparse.

    `columns` are the examples' labels, by their places among the task's `labels`. Raises
    MissingExtra without scikit-learn.
    """
    linear = require("sklearn.linear_model", "rivals")
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


def write_head(head: Head, folder: Path) -> None:
    """Keep a head in a folder, as safetensors."""
    from safetensors.numpy import save_file

    save_file({"weight": head.weight, "bias": head.bias}, folder / HEAD)


def read_head(folder: Path) -> Head:
    """The head that is kept in a folder."""
    from safetensors.numpy import load_file

    found = load_file(folder / HEAD)
    return Head(found["weight"], found["bias"])


def labelled_columns(labelled: Sequence[Demonstration], template: PromptTemplate) -> list[int]:
    """The place of each example's label among the template's."""
    return [template.labels.index(label) for _, label in labelled]


def text_of(template: PromptTemplate, fields: Fields) -> str:
    """The fields that the template reads, a line each; InputError for one that is missing."""
    return "\n".join(value_of(fields, name) for name in template.fields)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
