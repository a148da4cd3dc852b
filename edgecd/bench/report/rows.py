"""From what processes measured to the rows of the report: all numbers are worked out here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median

import numpy as np

from edgecd.bench.exchange import Evaluation, Timing
from edgecd.bench.report.answers import draw_spread, judge, with_bundles, with_quality
from edgecd.bench.report.record import FasterThan, Latency, Noise, Ratio, Round, Row, SameAnswers
from edgecd.bench.systems.base import System
from edgecd.plotting.roles import TEACHER, TEACHER_CACHED
from edgecd.tasks.evaluation import EvalSet

_PROMPTS = (TEACHER, TEACHER_CACHED)  # read for each query, and with its prefix cached


@dataclass(frozen=True)
class Measured:
    """What is known of one system: its timed rounds, and its answers where it was asked.

    `evaluation` is None for a system whose answers are another's.
    """

    system: System
    rounds: Sequence[Timing]
    evaluation: Evaluation | None


def make_rows(
    measured: Sequence[Measured],
    sets: Sequence[EvalSet],
    labels: Sequence[str],
    reference: str | None,
) -> tuple[Row, ...]:
    """The report's rows in the order given; `reference` is the system to compare answers with."""
    by_name = {one.system.name: one for one in measured}
    judged = {
        name: judge(one.system, one.evaluation, labels)
        for name, one in by_name.items()
        if one.evaluation is not None
    }
    bundles = {name: one for name, one in judged.items() if by_name[name].system.kind == "bundle"}
    rows = []
    for one in measured:
        source = one.system.accuracy_from
        asked = by_name.get(source or one.system.name)
        row = replace(
            _speed(one),
            draws=draw_spread(asked.evaluation if asked else None, sets[0], labels),
            accuracy_from=source,
            naive_equals_cached=(
                compare(one.rounds[0], asked.rounds[0]) if source and asked else None
            ),
            faster_than=FasterThan(
                *(_faster(one, _prompt_of(one.system, role, measured)) for role in _PROMPTS)
            ),
        )
        answers = judged.get(source or one.system.name)
        row = with_quality(row, answers, judged.get(reference or ""), sets)
        if one.system.kind == "rival" and answers is not None:
            row = with_bundles(row, answers, bundles, sets)
        rows.append(row)
    return tuple(rows)


def find_reference(measured: Sequence[Measured]) -> str | None:
    """The teacher's cached prompt that was asked most: all sets before the task's own alone, then
    most shots, then PyTorch before other runtimes; None when there is none."""
    found = [
        (len(one.evaluation.scores), one.system.shots, one.system.precision is None, one.system)
        for one in measured
        if one.system.role == TEACHER_CACHED and one.evaluation is not None
    ]
    return max(found, key=lambda one: one[:3])[3].name if found else None


def noise(measured: Sequence[Measured]) -> Noise | None:
    """How far rounds differ: the slowest p50 over the fastest, usual and worst; None for one."""
    spreads = {one.system.name: _spread(one.rounds) for one in measured if len(one.rounds) > 1}
    if not spreads:
        return None
    worst = max(spreads, key=lambda name: spreads[name])
    return Noise(median(spreads.values()), spreads[worst], worst)


def compare(naive: Timing, cached: Timing) -> SameAnswers:
    """Do a prompt read anew and one read once give the same answers? On the timed queries."""
    count = min(len(naive.timed_scores), len(cached.timed_scores))
    one, other = (np.array(result.timed_scores[:count]) for result in (naive, cached))
    return SameAnswers(
        examples=count,
        label_mismatches=int(np.sum(one.argmax(-1) != other.argmax(-1))),
        max_abs_logit_diff=float(np.abs(one - other).max()),
    )


def median_ratio(rounds: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    """How many times the second's milliseconds the first takes, on the calls that both made.

    The median over rounds, each of which measured both within minutes; None without any.
    """
    ratios = []
    for first, second in rounds:
        count = min(len(first), len(second))
        ratios.append(median(first[:count]) / median(second[:count]))
    return median(ratios) if ratios else None


def _speed(one: Measured) -> Row:
    """The row without its answers: medians over rounds of what happens once, peaks of memory."""
    system, first, metadata = one.system, one.rounds[0], one.rounds[0].metadata
    loaded = [found.metadata for found in one.rounds]
    latencies_ms = [value for found in one.rounds for value in found.latency_ms]
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99]).tolist()
    energy = [found.energy_j_per_query for found in one.rounds]
    known = [value for value in energy if value is not None]
    evaluation = one.evaluation
    throughput_per_s, batch = 1e3 / float(np.mean(latencies_ms)), 1
    if evaluation is not None and evaluation.batch_size > 1:
        throughput_per_s, batch = evaluation.throughput_per_s, evaluation.batch_size
    context_ms = [found.context_ms for found in loaded if found.context_ms is not None]
    return Row(
        system=system.name,
        kind=system.kind,
        role=system.role,
        precision=metadata.precision,
        runtime=metadata.runtime,
        runtime_version=metadata.runtime_version,
        provider=metadata.provider,
        threads=first.threads,
        shots_in_input=system.shots,
        tokens_per_query_mean=first.tokens_per_query_mean,
        context_tokens=metadata.context_tokens,
        parameters=metadata.parameters,
        disk_bytes=metadata.disk_bytes,
        peak_rss_bytes=max(found.peak_rss_bytes for found in one.rounds),
        peak_rss_evaluation_bytes=evaluation.peak_rss_evaluation_bytes if evaluation else None,
        peak_gpu_bytes=first.peak_gpu_bytes,
        import_ms=median(found.import_ms for found in loaded),
        load_ms=median(found.load_ms for found in loaded),
        context_ms=median(context_ms) if context_ms else None,
        first_call_ms=median(found.first_call_ms for found in one.rounds),
        latency_ms=Latency(p50, p95, p99, tuple(latencies_ms)),
        rounds=tuple(
            Round(
                p50_ms=median(found.latency_ms),
                load_ms=found.metadata.load_ms,
                first_call_ms=found.first_call_ms,
                load_average_before=found.load_average_before,
            )
            for found in one.rounds
        ),
        p50_spread=_spread(one.rounds),
        energy_j_per_query=mean(known) if len(known) == len(energy) else None,
        throughput_per_s=throughput_per_s,
        throughput_batch=batch,
        modules=first.modules,
    )


def _spread(rounds: Sequence[Timing]) -> float:
    p50s = [median(found.latency_ms) for found in rounds]
    return max(p50s) / min(p50s)


def _prompt_of(system: System, role: str, measured: Sequence[Measured]) -> Measured | None:
    """The teacher's prompt on the system's own runtime where there is one, with most shots."""
    found = [one for one in measured if one.system.role == role and one.system is not system]
    if system.role in _PROMPTS:
        return None
    most = max((one.system.shots for one in found), default=0)
    found = [one for one in found if one.system.shots == most]
    found.sort(key=lambda one: one.system.runtime != system.runtime)
    return found[0] if found else None


def _faster(one: Measured, prompt: Measured | None) -> Ratio | None:
    """How many times less time than a prompt."""
    if prompt is None:
        return None
    rounds = zip(prompt.rounds, one.rounds, strict=False)
    ratio = median_ratio([(theirs.latency_ms, ours.latency_ms) for theirs, ours in rounds])
    return None if ratio is None else Ratio(prompt.system.name, ratio)
