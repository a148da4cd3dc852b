"""The report of a benchmark: frozen dataclasses whose fields are the keys of `report.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecd.errors import InputError
from edgecd.files import read_json
from edgecd.formats.record import LeftOut, from_json, to_json
from edgecd.plotting.roles import TEACHER, TEACHER_CACHED

REPORT = "report.json"
SCHEMA = 1
_NEEDED = {"schema", "task", "rows", "machine"}
Interval = tuple[float, float]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one query: percentiles of `raw`, every timed call of every round."""

    p50: float
    p95: float | None = None
    p99: float | None = None
    raw: tuple[float, ...] = ()


@dataclass(frozen=True)
class Round:
    """One round of timed calls, in a process of its own."""

    p50_ms: float
    load_ms: float | None = None
    first_call_ms: float | None = None
    load_average_before: float | None = None


@dataclass(frozen=True)
class Difference:
    """An accuracy minus the reference's on the same examples, with its 95% interval.

    `mcnemar_p` is of McNemar's test; the counts are of examples that only one got right.
    """

    difference: float
    ci95: Interval
    mcnemar_p: float | None = None
    only_this_right: int | None = None
    only_reference_right: int | None = None


@dataclass(frozen=True)
class Group:
    """Accuracy on one kind of examples."""

    accuracy: float
    examples: int


@dataclass(frozen=True)
class OutOfDomain:
    """Accuracy on another task; `minus_bundles` as in a Row."""

    accuracy: float
    ci95: Interval
    examples: int
    minus_teacher: Difference | None = None
    minus_bundles: LeftOut[Mapping[str, Difference] | None] = None
    groups: Mapping[str, Group] = field(default_factory=dict)


@dataclass(frozen=True)
class Draws:
    """Accuracy after several draws of demonstrations, the run's own first, on the same examples."""

    count: int
    examples: int
    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class SameAnswers:
    """How far a prompt that is read anew differs from the one that is read once."""

    examples: int
    label_mismatches: int
    max_abs_logit_diff: float


@dataclass(frozen=True)
class Ratio:
    """How many times less time a row takes than another system."""

    system: str
    ratio: float


@dataclass(frozen=True)
class FasterThan:
    """A row against the teacher's prompts: read for each query, and with its prefix cached."""

    naive: Ratio | None = None
    cached: Ratio | None = None


@dataclass(frozen=True)
class AtLength:
    """Queries of one length: mean tokens, median latency, and that over the first bundle's.

    `ratio` is the median over rounds, each of which timed both; None for a system alone.
    """

    tokens: float
    p50_ms: float
    ratio: float | None = None


@dataclass(frozen=True)
class Training:
    """What it took to make a bundle's model."""

    seconds: float
    peak_rss_bytes: int | None = None


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the example's place in its split, from 1, and the answer's probability.

    `text` holds the input's fields, where they were asked for.
    """

    example: int
    label: str
    answer: str
    probability: float
    text: LeftOut[Mapping[str, str] | None] = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system: what it is, what it costs, and what its answers are worth.

    None is what was not measured. Accuracies are of the task's own set, of `examples` labelled
    inputs; `accuracy_from` names the system whose answers they are, where it has none of its own.
    `labels_changed` is the share of labels that are not those of the same checkpoint in PyTorch
    (the peer of that name), `lengths` the latency by tokens of a query. `minus_bundles` holds a
    rival's accuracy minus that of each bundle, by name. Of bundles, `confusions` counts examples by
    right label and answer, in the order of the report's labels, and `mistakes` are the surest ones.
    """

    system: str
    kind: str
    role: str
    precision: str
    runtime: str
    runtime_version: str = ""
    provider: str | None = None
    threads: int | None = None
    shots_in_input: int = 0
    tokens_per_query_mean: float | None = None
    context_tokens: int | None = None
    parameters: int | None = None
    disk_bytes: int | None = None
    peak_rss_bytes: int | None = None
    peak_rss_evaluation_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    context_ms: float | None = None
    first_call_ms: float | None = None
    latency_ms: Latency
    rounds: tuple[Round, ...] = ()
    p50_spread: float | None = None
    energy_j_per_query: float | None = None
    throughput_per_s: float | None = None
    throughput_batch: int = 1
    modules: tuple[str, ...] = ()
    accuracy: float | None = None
    accuracy_ci95: Interval | None = None
    accuracy_uncalibrated: float | None = None
    macro_f1: float | None = None
    ece: float | None = None
    examples: int = 0
    groups: Mapping[str, Group] = field(default_factory=dict)
    calibration_inputs: int = 0
    agreement_with_teacher: float | None = None
    accuracy_minus_teacher: Difference | None = None
    minus_bundles: LeftOut[Mapping[str, Difference] | None] = None
    confusions: LeftOut[tuple[tuple[int, ...], ...] | None] = None
    mistakes: LeftOut[tuple[Mistake, ...]] = ()
    ood_accuracy: Mapping[str, OutOfDomain | None] = field(default_factory=dict)
    draws: Draws | None = None
    accuracy_from: str | None = None
    naive_equals_cached: SameAnswers | None = None
    labels_changed: float | None = None
    lengths: Mapping[str, AtLength] = field(default_factory=dict)
    faster_than: FasterThan = FasterThan()
    training: Training | None = None

    @property
    def p50_ms(self) -> float:
        """Median latency of one query."""
        return self.latency_ms.p50

    @property
    def load_average_before(self) -> float | None:
        """The machine's largest load before a round; None where it is unknown or nothing ran."""
        return max((one.load_average_before or 0 for one in self.rounds), default=0) or None


@dataclass(frozen=True)
class Noise:
    """The slowest round's p50 over the fastest's: usual, and at most (of the system `worst`)."""

    p50_spread_median: float
    p50_spread_max: float
    worst: str


@dataclass(frozen=True)
class Machine:
    """What measured; see `edgecd.host.machine.describe_machine`."""

    cpu: str = "unknown processor"
    cores: int | None = None
    isa: tuple[str, ...] = ()
    int8: str | None = None
    ram_bytes: int | None = None
    gpu: str | None = None
    os: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a benchmark found.

    `verdict` is the sentence of `verdict.judge`, for people; `reference` names the row that the
    others' answers are compared with, `asked` holds the options by name.
    """

    schema: int
    task: str
    labels: tuple[str, ...] = ()
    split: str | None = None
    ood: tuple[str, ...] = ()
    shots: int | None = None
    machine: Machine
    verdict: str = ""
    reference: str | None = None
    rounds: int = 1
    noise: Noise | None = None
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    asked: Mapping[str, Any] | None = None


def write_report(report: Report) -> dict[str, Any]:
    """The report as the JSON value of `report.json`."""
    values: dict[str, Any] = to_json(report)
    return values


def read_report(path: Path) -> Report:
    """A report from its folder or file; InputError for anything else."""
    file = path / REPORT if path.is_dir() else path
    return parse_report(read_json(file), str(file))


def parse_report(value: Any, where: str = REPORT) -> Report:
    """A report from its JSON value; what an older one lacks is None or empty, or worked out.

    That is: the round of one that was timed once; the reference, which was the teacher's cached
    prompt; and `faster_than`, from the p50s of the prompts of the most demonstrations, on the row's
    runtime and precision where there is one. Raises InputError, naming `where`, for what is no
    report.
    """
    if not isinstance(value, dict) or not value.keys() >= _NEEDED:
        raise InputError(f"{where}: not a report of edgecd bench")
    report = from_json(Report, value, where, lenient=True)
    raw: Sequence[Mapping[str, Any]] = value["rows"]
    rows = [_with_a_round(row, one) for row, one in zip(report.rows, raw, strict=True)]
    rows = [
        row if one.get("faster_than") else replace(row, faster_than=_faster(rows, row))
        for row, one in zip(rows, raw, strict=True)
    ]
    reference = report.reference
    if reference is None and any(row.accuracy_minus_teacher for row in rows):
        reference = next((row.system for row in rows if row.role == TEACHER_CACHED), None)
    return replace(report, rows=tuple(rows), reference=reference)


def _with_a_round(row: Row, raw: Mapping[str, Any]) -> Row:
    if row.rounds:
        return row
    once = Round(row.p50_ms, row.load_ms, row.first_call_ms, raw.get("load_average_before"))
    return replace(row, rounds=(once,))


def _faster(rows: Sequence[Row], row: Row) -> FasterThan:
    return FasterThan(*(_ratio(rows, row, role) for role in (TEACHER, TEACHER_CACHED)))


def _ratio(rows: Sequence[Row], row: Row, role: str) -> Ratio | None:
    prompts = [one for one in rows if one.role == role]
    if not prompts or row.role in (TEACHER, TEACHER_CACHED):
        return None
    prompt = max(
        prompts,
        key=lambda one: (
            one.shots_in_input,
            one.runtime == row.runtime,
            one.precision == row.precision,
        ),
    )
    return Ratio(prompt.system, prompt.p50_ms / row.p50_ms)
