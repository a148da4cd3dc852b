"""What the benchmark asks its worker processes, and what they give back: JSON between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from edgecd.bench.systems.base import Demonstration, Fields, Metadata, System
from edgecd.formats.record import from_json

Scores = tuple[tuple[float, ...], ...]  # [inputs, labels]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Spec:
    """What the process of one system is asked. No label is passed but those of the demonstrations:
    it cannot know the answers.

    `do` is timing or evaluation, `folder` what was made for a converted system. Timing: `warmup`
    calls, then `timed_calls`, one query at a time from `queries`; then some of `long_texts` cut to
    each of `lengths`, in tokens. Evaluation: the inputs of `sets`
    and those to calibrate on (`calibration`), after `demonstrations`; then, after each of the other
    `draws` of demonstrations, `draw_queries` and `draw_calibration`. `seed` is of what is drawn at
    random when a rival learns.
    """

    system: System
    template: str
    verbalizer: Mapping[str, str]
    demonstrations: tuple[Demonstration, ...]
    max_length: int
    provider: str
    threads: int
    dtype: str
    queries: tuple[Fields, ...]
    warmup: int
    timed_calls: int
    sets: Mapping[str, tuple[Fields, ...]]
    calibration: tuple[Fields, ...]
    draws: tuple[tuple[Demonstration, ...], ...]
    draw_queries: tuple[Fields, ...]
    draw_calibration: tuple[Fields, ...]
    lengths: tuple[int, ...] = ()
    long_texts: tuple[Fields, ...] = ()
    seed: int = 0
    do: Literal["time", "evaluate"] = "evaluate"
    folder: str | None = None


@dataclass(frozen=True)
class AtLength:
    """Timed calls on queries of one length; `tokens` is their mean, as they were read."""

    tokens: float
    latency_ms: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """One round of timed calls of one system, in a fresh process.

    `latency_ms` holds every timed call, `timed_scores` the scores of the first of each query;
    `modules` tells which of the large packages the process had imported.
    """

    metadata: Metadata
    threads: int
    first_call_ms: float
    latency_ms: tuple[float, ...]
    timed_scores: Scores
    energy_j_per_query: float | None
    peak_rss_bytes: int
    peak_gpu_bytes: int | None
    tokens_per_query_mean: float
    modules: tuple[str, ...]
    lengths: Mapping[str, AtLength] = field(default_factory=dict)
    load_average_before: float | None = None


@dataclass(frozen=True)
class Draw:
    """Scores after one other draw of demonstrations."""

    scores: Scores
    calibration: Scores


@dataclass(frozen=True)
class Evaluation:
    """The scores of one system: of every set, of the inputs to calibrate on, after other draws.

    `labels` is the order of the scores' columns.
    """

    labels: tuple[str, ...]
    scores: Mapping[str, Scores]
    calibration: Scores | None
    throughput_per_s: float
    batch_size: int
    peak_rss_evaluation_bytes: int | None = None
    draws: tuple[Draw, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """Why a system was left out."""

    skipped: str


def read_result(kind: type[Result], value: Any, where: str) -> Result | Skipped:
    """What a worker gave back: the `kind` that it was asked for, or why there is none.

    Raises InputError for anything else.
    """
    if isinstance(value, Mapping) and "skipped" in value:
        return from_json(Skipped, value, where)
    return from_json(kind, value, where)


@dataclass(frozen=True)
class ConvertedPrompt:
    """A prompt to make a graph of: its demonstrations, read once where it is `cached`."""

    shots: tuple[Demonstration, ...]
    cached: bool


@dataclass(frozen=True)
class Conversion:
    """What `systems.prompt_models` is asked: a graph in `folder` for each prompt of one model.

    All `systems` have demonstrations, or none has; `calibration` are inputs without labels.
    """

    model: str
    precision: str
    template: str
    verbalizer: Mapping[str, str]
    max_length: int
    calibration: tuple[Fields, ...]
    folder: str
    systems: Mapping[str, ConvertedPrompt]


@dataclass(frozen=True)
class Lesson:
    """What `systems.rival` is asked: to learn one rival from `labelled`, into `folder`.

    The examples are all that it is told of the task, besides its form. `encoder` is the model that
    a rival with a sentence encoder starts from, empty for others.
    """

    rival: str
    labelled: tuple[Demonstration, ...]
    template: str
    verbalizer: Mapping[str, str]
    encoder: str
    max_length: int
    seed: int
    folder: str
