"""Where the student errs: each label's figures, what is taken for what, and its surest mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.report.drawing import Drawing, color_of
from edgecd.bench.report.record import Mistake, Report, Row
from edgecd.bench.report.selection import best_student
from edgecd.bench.report.tables import Table
from edgecd.plotting.style import figure, plain
from edgecd.tasks.evaluation import EvalSet
from edgecd.tasks.metrics import label_quality, taken_for

MOST_MISTAKES = 20
_MOST_DRAWN = 40  # labels; of more a square holds no number
_NUMBERED = 14
_LETTERS = 300  # of a text that is shown
_NONE = "-"


def surest_mistakes(
    log_probabilities: NDArray[np.float64], one: EvalSet, count: int = MOST_MISTAKES
) -> tuple[Mistake, ...]:
    """The wrong answers with the highest probabilities; log-probabilities [examples, labels]."""
    predicted = log_probabilities.argmax(-1)
    sure = np.exp(log_probabilities.max(-1))
    wrong = np.flatnonzero(predicted != one.columns[: len(predicted)])
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    return tuple(
        Mistake(
            one.places[place],
            one.labels[place],
            one.label_order[int(predicted[place])],
            round(float(sure[place]), 4),
        )
        for place in chosen.tolist()
    )


def with_texts(row: Row, one: EvalSet) -> Row:
    """The row whose mistakes show the inputs that they were made on."""
    found = dict(zip(one.places, one.inputs, strict=True))
    told = (replace(mistake, text=dict(found[mistake.example])) for mistake in row.mistakes)
    return replace(row, mistakes=tuple(told))


def label_table(report: Report) -> Table:
    """Of each label, how many inputs have it, and how often it is found and rightly said."""
    row = best_student(report)
    confusions = _confusions(report, row)
    lines = []
    for place, one in enumerate(label_quality(confusions)):
        wrong = taken_for(confusions, place)
        lines.append(
            (
                report.labels[place],
                str(one.examples),
                str(one.answers),
                _share(one.recall),
                _share(one.precision),
                ", ".join(f"{report.labels[answer]} {n}" for answer, n in wrong) or _NONE,
            )
        )
    return Table(
        "By label",
        ("label", "examples", "answers", "recall", "precision", "taken for"),
        (("", tuple(lines)),) if lines else (),
        f"Of `{row.system if row else ''}`. `recall`: of the examples with the label, the share "
        "that gets it. `precision`: of the answers with the label, the share that is right.",
    )


def mistake_table(report: Report) -> Table:
    """The student's wrong answers that it was surest of."""
    row = best_student(report)
    found = () if row is None else row.mistakes
    told = any(one.text for one in found)
    lines = tuple(
        (
            str(one.example),
            one.label,
            one.answer,
            f"{one.probability:.3f}",
            *((_text(one),) if told else ()),
        )
        for one in found
    )
    split = f"of the split {report.split}" if report.split else "of the split"
    about = f"Of `{row.system if row else ''}`. `example`: its place among those {split}, from 1. "
    about += "A right label may be wrong: look first at the top of this table."
    if not told:
        about += " `--with-texts` shows the inputs, too."
    columns = ("example", "right", "answer", "probability", *(("input",) if told else ()))
    return Table("Surest mistakes", columns, (("", lines),) if lines else (), about)


def draw_confusions(report: Report) -> Iterator[Drawing]:
    """A square for each pair of a right label and an answer, darker the larger its share."""
    row = best_student(report)
    confusions = _confusions(report, row)
    count = len(confusions)
    if row is None or not 1 < count <= _MOST_DRAWN:
        return
    shares = confusions / np.maximum(confusions.sum(axis=1, keepdims=True), 1)
    side = 0.42 if count <= _NUMBERED else 0.24
    longest = 0.075 * max(map(len, report.labels))
    drawn, (axes,) = figure(1.2 + longest + side * count, 0.9 + longest + side * count)
    from matplotlib.patches import Rectangle

    for right, answer in np.argwhere(confusions).tolist():
        # Of less colour, not paler: the squares stand on any paper.
        alpha = 0.08 + 0.7 * float(shares[right, answer])
        corner = (answer - 0.5, right - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, color=color_of(row), alpha=alpha, linewidth=0))
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_xticks(range(count), report.labels, rotation=90)
    axes.set_yticks(range(count), report.labels)
    plain([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.grid(visible=False)
    axes.grid(visible=True, which="minor")
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="answer", ylabel="right label")
    if count <= _NUMBERED:
        for right, answer in np.argwhere(confusions).tolist():
            number = str(confusions[right, answer])
            axes.text(answer, right, number, ha="center", va="center", fontsize=8)
    yield Drawing(
        "confusions",
        "What is taken for what",
        f"The answers of `{row.system}` to the examples of each label: those on the diagonal are "
        "right. The darker a square, the larger its share of the line.",
        drawn,
    )


def _confusions(report: Report, row: Row | None) -> NDArray[np.int64]:
    """int64 [right label, answer]; of no labels where the report does not tell them."""
    found = () if row is None or row.confusions is None else row.confusions
    if len(found) != len(report.labels):
        found = ()
    return np.array(found, np.int64).reshape(len(found), len(found))


def _text(mistake: Mistake) -> str:
    """An input on one line, cut where it is long."""
    fields = mistake.text or {}
    words = [" ".join(value.split()) for value in fields.values()]
    if len(fields) > 1:
        words = [f"{name}: {value}" for name, value in zip(fields, words, strict=True)]
    text = " | ".join(words)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]} ..."


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}"
