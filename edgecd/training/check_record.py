"""What `edgecd check` finds out: the record that is shown, and written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecd.tasks.prompts import Form
from edgecd.tasks.survey import Overlap, Shots, SplitSurvey

TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True)
class Lengths:
    """Tokens of the inputs as a model reads them, whole; `shortened` of the `texts` are too long.

    `texts` are all, or a sample of them. Of very long ones the first thousands are counted.
    """

    texts: int
    mean: float
    median: int
    longest: int
    max_length: int
    shortened: int


@dataclass(frozen=True)
class ModelLook:
    """What one model makes of the task.

    `words` are the tokens of each label's word, where the model reads prompts; `context_tokens`
    those of the demonstrations, where it is shown any; `positions` how many tokens it was made for.
    `faults` are what training refuses.
    """

    role: str
    model: str
    reads: Form
    lengths: Lengths
    words: Mapping[str, tuple[str, ...]]
    context_tokens: int
    positions: int | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """What there is to do: inputs to score, and examples to train on in one pass.

    `teacher_tokens` and `student_tokens` are those of a usual input, `context_tokens` those of the
    demonstrations before it.
    """

    scored: int
    trained: int
    teacher_tokens: int
    student_tokens: int
    context_tokens: int


@dataclass(frozen=True)
class Estimate:
    """Seconds of scoring and of training, measured on two layers of each model; None: too large."""

    scoring_s: float | None
    training_s: float | None


@dataclass(frozen=True)
class Check:
    """A task, looked at: its splits, what the models make of it, and how long all will take.

    `faults` are what training refuses, `remarks` what it should be told of, a line each. Without
    faults it is `ok`.
    """

    task: str
    source: str
    ok: bool
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    labels: Mapping[str, str]
    splits: Mapping[str, SplitSurvey]
    overlaps: tuple[Overlap, ...]
    shots: Shots | None
    models: tuple[ModelLook, ...]
    estimate: Estimate | None
