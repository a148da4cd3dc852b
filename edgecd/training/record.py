"""What a training says of itself in `run.json`, beside the options that it was asked with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from edgecd.formats.record import Inline, LeftOut, to_json
from edgecd.host.cost import Phase
from edgecd.tasks.prompts import PromptTemplate
from edgecd.tasks.task import Task

_FORMAT = 1
_PACKAGES = ("edgecd", "torch", "transformers", "peft", "tokenizers", "numpy")


@dataclass(frozen=True)
class Peaks:
    """The highest memory in bytes; None where the system cannot tell, or without a GPU."""

    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None


@dataclass(frozen=True)
class TaskRecord:
    """The task that a student was trained for; `labels` maps each to its word.

    `form` is what the student reads of an input (see `PromptTemplate`).
    """

    name: str
    template: str
    labels: Mapping[str, str]
    source: str
    form: str = "prompt"

    @classmethod
    def of(cls, task: Task, template: PromptTemplate) -> TaskRecord:
        """What run.json says of a task whose student reads `template`."""
        words = dict(template.verbalizer)
        return cls(task.name, template.text, words, task.source, template.form)


@dataclass(frozen=True)
class Fingerprints:
    """Hex SHA-256 of the first demonstrations, of the transfer set, and marks of the scores."""

    demonstrations: str
    data: str
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How many examples a student was trained on, stopped by, and evaluated on."""

    transfer: int
    monitor: int
    heldout: int


@dataclass(frozen=True)
class HeldOutMetrics:
    """Of the held-out examples: accuracy where labels are known, and agreement with a teacher.

    What cannot be told is left out. `majority_accuracy` is that of their most frequent label for
    all, `untrained_accuracy` that of the student before it was trained, on the first
    `untrained_examples` (an encoder has no head then). `heldout_kl` is in nats; `ece` is the
    expected calibration error of the probabilities, and `temperature` what the student's logits
    were divided by.
    """

    heldout_examples: int
    labelled: int
    student_accuracy: LeftOut[float | None] = None
    majority_accuracy: LeftOut[float | None] = None
    untrained_accuracy: LeftOut[float | None] = None
    untrained_examples: LeftOut[int | None] = None
    teacher_accuracy: LeftOut[float | None] = None
    teacher_accuracy_uncalibrated: LeftOut[float | None] = None
    agreement: LeftOut[float | None] = None
    heldout_kl: LeftOut[float | None] = None
    student_ece: LeftOut[float | None] = None
    teacher_ece: LeftOut[float | None] = None
    temperature: LeftOut[float | None] = None


@dataclass(frozen=True)
class LabelAnswers:
    """Of one label: how many of the labelled examples have it, and of the held-out ones.

    `answered` is how many held-out inputs the student gives it, of all; `recall` and `precision`
    are of those whose label is known.
    """

    shown: int
    heldout: int
    answered: int
    recall: LeftOut[float | None] = None
    precision: LeftOut[float | None] = None


@dataclass(frozen=True)
class HeldOutAnswers:
    """The student's answers to the held-out examples, by label.

    `confusions` counts those whose label is known, by right label and answer, in the order of
    `labels`; `warnings` say what makes the student of little use.
    """

    labels: Mapping[str, LabelAnswers]
    confusions: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudentSeconds:
    """Of both phases, and of all sessions of the run in all; no scoring where it was cached."""

    scoring: float
    training: float
    total: float


@dataclass(frozen=True)
class StudentMemory:
    """Bytes with the student loaded and nothing trained yet, and each phase's highest."""

    loaded_rss_bytes: int | None
    loaded_gpu_bytes: int | None
    training_peak_rss_bytes: int | None
    training_peak_gpu_bytes: int | None
    scoring_peak_rss_bytes: int | None
    scoring_peak_gpu_bytes: int | None

    @classmethod
    def of(
        cls, loaded: tuple[int | None, int | None], training: Phase, scoring: Phase
    ) -> StudentMemory:
        """From (resident, GPU) bytes with the student loaded, and both phases."""
        phases = (training, scoring)
        return cls(*loaded, *(x for p in phases for x in (p.peak_rss_bytes, p.peak_gpu_bytes)))


@dataclass(frozen=True)
class StudentRecord:
    """What the training of a student came to; `licences` are those that its models state."""

    task: TaskRecord
    licences: Mapping[str, str | None]
    fingerprints: Fingerprints
    examples: Counts
    metrics: HeldOutMetrics
    answers: HeldOutAnswers
    class_shares: LeftOut[Mapping[str, float] | None]
    steps: int
    best_step: int
    parameters: int
    trainable_parameters: int
    timings_s: StudentSeconds
    memory: StudentMemory
    peaks: Inline[Peaks]


@dataclass(frozen=True)
class FrozenModel:
    """A frozen language model, which answers: its name, and its weights' fingerprint."""

    name: str
    fingerprint: str


@dataclass(frozen=True)
class DistillerRecord:
    """What the training of a distiller came to; `timings_s` by stage, and in all."""

    partition_name: str
    train_tasks: tuple[str, ...]
    test_tasks: tuple[str, ...]
    language_model: FrozenModel
    parameters: int
    trainable_parameters: int
    timings_s: Mapping[str, float]
    peaks: Inline[Peaks]


@dataclass(frozen=True)
class PromptRecord:
    """What prompt tuning came to: the `context` file's name in the run folder."""

    context: str
    language_model: FrozenModel
    timings_s: Mapping[str, float]
    peak_rss_bytes: int


def run_json(config: Any, record: Any) -> dict[str, Any]:
    """The whole run.json of a finished training: its options, then what it came to."""
    return {
        "format": _FORMAT,
        "status": "done",
        **dataclasses.asdict(config),
        **to_json(record),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }
