"""What a student's answers to the held-out examples are worth, and what they are worth beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgecd.tasks import metrics
from edgecd.tasks.answerer import Answerer, answered
from edgecd.tasks.task import Example
from edgecd.training.loop import divergence
from edgecd.training.record import HeldOutAnswers, HeldOutMetrics, LabelAnswers
from edgecd.training.targets import Targets

# So many tell what a student knows before it is trained.
UNTRAINED_EXAMPLES = 200
# A label that has this share of the answers is nearly the only one.
_NEARLY_ALL = 0.95
_CURE = "more --shots, --transfer or --epochs may help, or another teacher"


@dataclass(frozen=True)
class HeldOut:
    """What came of the held-out examples: in all, and by label."""

    metrics: HeldOutMetrics
    answers: HeldOutAnswers


def untrained_accuracy(
    answerer: Answerer, heldout: Sequence[Example], progress: Callable[[int, int], None]
) -> tuple[float, int] | None:
    """The accuracy of a student that nobody trained yet, and on how many; None without labels."""
    known = [example for example in heldout if example.label is not None][:UNTRAINED_EXAMPLES]
    if not known:
        return None
    logits = answered(answerer.logits, [example.fields for example in known], progress)
    truth = [answerer.labels.index(str(example.label)) for example in known]
    return metrics.accuracy(logits.argmax(-1), truth), len(known)


def evaluate(
    answerer: Answerer,
    heldout: Sequence[Example],
    labelled: Sequence[Example],
    targets: Targets | None,
    progress: Callable[[int, int], None],
) -> HeldOut:
    """The student's and the teacher's accuracy where labels are known, and how far they agree.

    `labelled` are the examples that the teacher was shown.
    """
    logits = answered(answerer.logits, [example.fields for example in heldout], progress)
    known = [place for place, example in enumerate(heldout) if example.label is not None]
    truth = [answerer.labels.index(str(heldout[place].label)) for place in known]
    names = answerer.labels

    def accuracy(table: NDArray[np.float32]) -> float | None:
        return metrics.accuracy(table.argmax(-1)[known], truth) if known else None

    def ece(table: NDArray[np.float32]) -> float | None:
        probabilities = np.exp(metrics.log_softmax(table[known]))
        return metrics.expected_calibration_error(probabilities, truth) if known else None

    predicted = logits.argmax(-1)
    counts = np.bincount(predicted, minlength=len(names))
    confusions = np.zeros((len(names), len(names)), np.int64)
    if known:
        confusions = metrics.confusion_matrix(predicted[known], truth, len(names))
    found = HeldOutMetrics(
        len(heldout),
        len(known),
        student_accuracy=accuracy(logits),
        majority_accuracy=float(confusions.sum(axis=1).max() / len(known)) if known else None,
        student_ece=ece(logits),
    )
    taught = None
    if targets is not None:
        taught = targets.heldout.argmax(-1)
        found = replace(
            found,
            teacher_accuracy=accuracy(targets.heldout),
            teacher_ece=ece(targets.heldout),
            teacher_accuracy_uncalibrated=accuracy(targets.heldout_uncalibrated),
            agreement=metrics.agreement(predicted, taught),
            heldout_kl=divergence(logits, targets.heldout.tolist()),
        )
    by_label = {
        name: LabelAnswers(
            sum(example.label == name for example in labelled),
            one.examples,
            int(counts[column]),
            one.recall,
            one.precision,
        )
        for column, (name, one) in enumerate(
            zip(names, metrics.label_quality(confusions), strict=True)
        )
    }
    table = tuple(tuple(row) for row in confusions.tolist())
    warnings = _warnings(names, counts, found, taught)
    return HeldOut(found, HeldOutAnswers(by_label, table, warnings))


def _warnings(
    names: Sequence[str],
    counts: NDArray[np.int64],
    found: HeldOutMetrics,
    taught: NDArray[np.int64] | None,
) -> tuple[str, ...]:
    """What a user must know before using the student: it answers one label, or knows nothing.

    A label that is nearly all of the answers is no fault where the student is right more often than
    with that label alone, or where the teacher says it as often.
    """
    column = int(counts.argmax())
    share = float(counts[column] / counts.sum())
    said = f"the student answers {names[column]!r} for {share:.0%} of the held-out inputs"
    right, majority = found.student_accuracy, found.majority_accuracy
    if right is not None and majority is not None:
        if right > majority:
            return ()
        worth = f"{right:.1%} of its answers are right, and the most frequent label alone would be "
        worth += f"for {majority:.1%}"
        return (
            f"{said if share >= _NEARLY_ALL else 'the student is of no use yet'}: {worth}; {_CURE}",
        )
    if share < _NEARLY_ALL:
        return ()
    teacher = "" if taught is None else f", the teacher for {np.mean(taught == column):.0%}"
    if taught is not None and float(np.mean(taught == column)) >= share - 0.05:
        return ()
    return (f"{said}{teacher}; {_CURE}",)
