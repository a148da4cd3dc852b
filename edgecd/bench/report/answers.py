"""What a system's answers are worth: accuracy, in and out of domain, and against another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.exchange import Draw, Evaluation
from edgecd.bench.report.mistakes import surest_mistakes
from edgecd.bench.report.record import Difference, Draws, Group, OutOfDomain, Row
from edgecd.bench.systems.base import System
from edgecd.tasks.evaluation import EvalSet
from edgecd.tasks.metrics import (
    accuracy,
    agreement,
    bootstrap_interval,
    calibrate_labels,
    confusion_matrix,
    expected_calibration_error,
    label_calibration,
    log_softmax,
    macro_f1,
    mcnemar_p,
)


@dataclass(frozen=True)
class Judged:
    """A system's answers: per set, log-probabilities [examples, labels] in the task's order,
    calibrated where the system is a prompt, and as they came; accuracy after other draws."""

    log_probabilities: Mapping[str, NDArray[np.float64]]
    uncalibrated: Mapping[str, NDArray[np.float64]]
    calibrated_on: int  # inputs; 0 when not calibrated

    def predicted(self, name: str) -> NDArray[np.int64]:
        """Columns of the answers on one set."""
        columns: NDArray[np.int64] = self.log_probabilities[name].argmax(axis=-1)
        return columns


def judge(system: System, result: Evaluation, labels: Sequence[str]) -> Judged:
    """Order the columns as the task's labels, and calibrate a prompt as a distillation does.

    Calibration takes off each label's mean log-probability over inputs whose labels nobody saw.
    """
    order = [result.labels.index(label) for label in labels]
    plain = {name: log_softmax(np.array(rows)[:, order]) for name, rows in result.scores.items()}
    sample = result.calibration or ()
    if system.kind != "icl" or not sample:
        return Judged(plain, plain, 0)
    head_start = label_calibration(log_softmax(np.array(sample)[:, order]))
    calibrated = {name: calibrate_labels(table, head_start) for name, table in plain.items()}
    return Judged(calibrated, plain, len(sample))


def with_quality(
    row: Row, answers: Judged | None, reference: Judged | None, sets: Sequence[EvalSet]
) -> Row:
    """The row with what its answers are worth, next to the reference's on the same inputs.

    `answers` is None where they would be another system's, which was skipped.
    """
    main, *others = sets
    if answers is None:
        return replace(row, ood_accuracy={one.name: None for one in others})
    predicted = answers.predicted(main.name)
    truth = main.columns[: len(predicted)]  # some systems are asked the first examples only
    taught = None if reference is None else reference.predicted(main.name)
    if row.kind == "bundle":
        table = confusion_matrix(predicted, truth, len(main.label_order))
        row = replace(
            row,
            confusions=tuple(tuple(line) for line in table.tolist()),
            mistakes=surest_mistakes(answers.log_probabilities[main.name], main),
        )
    return replace(
        row,
        accuracy=accuracy(predicted, truth),
        accuracy_ci95=bootstrap_interval(predicted == truth),
        accuracy_uncalibrated=accuracy(answers.uncalibrated[main.name].argmax(-1), truth),
        macro_f1=macro_f1(predicted, truth),
        ece=expected_calibration_error(np.exp(answers.log_probabilities[main.name]), truth),
        examples=len(truth),
        groups=_by_group(main, predicted),
        calibration_inputs=answers.calibrated_on,
        agreement_with_teacher=_agreement(predicted, taught),
        accuracy_minus_teacher=_against(predicted, taught, truth),
        ood_accuracy={one.name: _out_of_domain(one, answers, reference) for one in others},
    )


def with_bundles(
    row: Row, answers: Judged, bundles: Mapping[str, Judged], sets: Sequence[EvalSet]
) -> Row:
    """The row of a rival with its accuracy minus that of each bundle, on every set."""
    main, *others = sets

    def minus(one: EvalSet) -> dict[str, Difference]:
        predicted = answers.predicted(one.name)
        found = {
            name: _against(predicted, other.predicted(one.name), one.columns)
            for name, other in bundles.items()
            if one.name in other.log_probabilities
        }
        return {name: gap for name, gap in found.items() if gap is not None}

    ood = dict(row.ood_accuracy)
    for one in others:
        if (known := ood.get(one.name)) is not None:
            ood[one.name] = replace(known, minus_bundles=minus(one))
    return replace(row, minus_bundles=minus(main), ood_accuracy=ood)


def _out_of_domain(one: EvalSet, answers: Judged, reference: Judged | None) -> OutOfDomain | None:
    """Accuracy on one set; None for a system that was not asked (see `plan.make_specs`)."""
    if one.name not in answers.log_probabilities:
        return None
    predicted = answers.predicted(one.name)
    taught = None if reference is None else reference.predicted(one.name)
    return OutOfDomain(
        accuracy=accuracy(predicted, one.columns),
        ci95=bootstrap_interval(predicted == one.columns),
        examples=len(one.columns),
        minus_teacher=_against(predicted, taught, one.columns),
        groups=_by_group(one, predicted),
    )


def _against(
    predicted: NDArray[np.int64], taught: NDArray[np.int64] | None, truth: NDArray[np.int64]
) -> Difference | None:
    """The difference of accuracies on the same examples: much surer than two intervals."""
    if taught is None:
        return None
    asked = min(len(predicted), len(taught))
    ours, theirs = predicted[:asked] == truth[:asked], taught[:asked] == truth[:asked]
    gain = ours.astype(float) - theirs
    return Difference(
        difference=float(gain.mean()),
        ci95=bootstrap_interval(gain),
        mcnemar_p=mcnemar_p(ours, theirs),
        only_this_right=int(np.sum(ours & ~theirs)),
        only_reference_right=int(np.sum(theirs & ~ours)),
    )


def _agreement(predicted: NDArray[np.int64], taught: NDArray[np.int64] | None) -> float | None:
    if taught is None:
        return None
    asked = min(len(predicted), len(taught))
    return agreement(predicted[:asked], taught[:asked])


def _by_group(one: EvalSet, predicted: NDArray[np.int64]) -> dict[str, Group]:
    """Accuracy for each kind of input (HANS: for each heuristic), where there are kinds."""
    groups = np.array([group or "" for group in one.groups])[: len(predicted)]
    truth = one.columns[: len(predicted)]
    return {
        str(group): Group(
            accuracy(predicted[groups == group], truth[groups == group]),
            int(np.sum(groups == group)),
        )
        for group in np.unique(groups)
        if group
    }


def draw_spread(result: Evaluation | None, main: EvalSet, labels: Sequence[str]) -> Draws | None:
    """Accuracy after each draw of demonstrations, the run's own first, on the same examples."""
    if result is None or not result.draws:
        return None
    order = [result.labels.index(label) for label in labels]
    count = len(result.draws[0].scores)
    # The same few inputs calibrate all draws, so that only the demonstrations differ.
    used = len(result.draws[0].calibration)
    own = Draw(result.scores[main.name][:count], (result.calibration or ())[:used])
    values = []
    for draw in (own, *result.draws):
        table = log_softmax(np.array(draw.scores)[:, order])
        if draw.calibration:
            sample = log_softmax(np.array(draw.calibration)[:, order])
            table = calibrate_labels(table, label_calibration(sample))
        values.append(accuracy(table.argmax(-1), main.columns[:count]))
    return Draws(len(values), count, mean(values), stdev(values), tuple(values))
