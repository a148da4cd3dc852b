"""From what processes measured to the rows of the report: all figures are worked out here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import numpy as np

from edgecd.bench.report.answers import Result, draw_spread, judge, quality
from edgecd.bench.systems.choose import TEACHER, TEACHER_CACHED, System
from edgecd.tasks.evaluation import EvalSet


@dataclass(frozen=True)
class Measured:
    """What is known of one system: its timed rounds, and its answers where it was asked.

    `evaluation` is None for a system whose answers are another's.
    """

    system: System
    rounds: Sequence[Result]
    evaluation: Result | None


def make_rows(
    measured: Sequence[Measured],
    sets: Sequence[EvalSet],
    labels: Sequence[str],
    reference: str | None,
) -> list[dict[str, Any]]:
    """The report's rows in the order given; `reference` is the system to compare answers with."""
    by_name = {one.system.name: one for one in measured}
    judged = {
        name: judge(one.system, one.evaluation, labels)
        for name, one in by_name.items()
        if one.evaluation is not None
    }
    rows = []
    for one in measured:
        source = one.system.accuracy_from
        row = _speed(one)
        row |= quality(judged.get(source or one.system.name), judged.get(reference or ""), sets)
        asked = by_name.get(source or one.system.name)
        row["draws"] = draw_spread(asked.evaluation if asked else None, sets[0], labels)
        row["accuracy_from"] = source
        row["naive_equals_cached"] = (
            compare(one.rounds[0], by_name[source].rounds[0]) if source in by_name else None
        )
        row["faster_than"] = {
            what: _faster(one, _rival(one.system, role, measured))
            for what, role in (("naive", TEACHER), ("cached", TEACHER_CACHED))
        }
        rows.append(row)
    return rows


def find_reference(measured: Sequence[Measured]) -> str | None:
    """The teacher's cached prompt that was asked most: all sets before the task's own alone, then
    most shots, then PyTorch before other runtimes; None when there is none."""
    found = [
        one for one in measured if one.system.role == TEACHER_CACHED and one.evaluation is not None
    ]
    if not found:
        return None

    def worth(one: Measured) -> tuple[int, int, bool]:
        asked = len((one.evaluation or {})["scores"])
        return asked, one.system.shots, one.system.precision is None

    return max(found, key=worth).system.name


def noise(measured: Sequence[Measured]) -> dict[str, Any] | None:
    """How far rounds differ: the slowest p50 over the fastest, usual and worst; None for one."""
    spreads = {one.system.name: _spread(one.rounds) for one in measured if len(one.rounds) > 1}
    if not spreads:
        return None
    worst = max(spreads, key=lambda name: spreads[name])
    return {
        "p50_spread_median": median(spreads.values()),
        "p50_spread_max": spreads[worst],
        "worst": worst,
    }


def compare(naive: Result, cached: Result) -> dict[str, Any]:
    """Do a prompt read anew and one read once give the same answers? On the timed queries."""
    count = min(len(naive["timed_scores"]), len(cached["timed_scores"]))
    one, other = (np.array(result["timed_scores"][:count]) for result in (naive, cached))
    return {
        "examples": count,
        "label_mismatches": int(np.sum(one.argmax(-1) != other.argmax(-1))),
        "max_abs_logit_diff": float(np.abs(one - other).max()),
    }


def _speed(one: Measured) -> dict[str, Any]:
    system, first = one.system, one.rounds[0]
    latencies_ms = [value for found in one.rounds for value in found["latency_ms"]]
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99]).tolist()
    evaluation = one.evaluation or {}
    batch = int(evaluation.get("batch_size", 1))
    energy = [found["energy_j_per_query"] for found in one.rounds]
    return {
        "system": system.name,
        "kind": system.kind,
        "role": system.role,
        **{key: first[key] for key in ("precision", "runtime", "runtime_version", "provider")},
        "threads": first["threads"],
        "shots_in_input": system.shots,
        "tokens_per_query_mean": first["tokens_per_query_mean"],
        **{key: first[key] for key in ("context_tokens", "parameters", "disk_bytes")},
        "peak_rss_bytes": max(found["peak_rss_bytes"] for found in one.rounds),
        "peak_rss_evaluation_bytes": evaluation.get("peak_rss_evaluation_bytes"),
        "peak_gpu_bytes": first["peak_gpu_bytes"],
        **{
            key: None if first[key] is None else median(found[key] for found in one.rounds)
            for key in ("import_ms", "load_ms", "context_ms", "first_call_ms")
        },
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "raw": latencies_ms},
        "rounds": [
            {
                "p50_ms": median(found["latency_ms"]),
                **{
                    key: found.get(key)
                    for key in ("load_ms", "first_call_ms", "load_average_before")
                },
            }
            for found in one.rounds
        ],
        "p50_spread": _spread(one.rounds),
        "energy_j_per_query": None if None in energy else mean(energy),
        "throughput_per_s": (
            evaluation["throughput_per_s"] if batch > 1 else 1e3 / float(np.mean(latencies_ms))
        ),
        "throughput_batch": batch,
        "modules": first["modules"],
    }


def _spread(rounds: Sequence[Result]) -> float:
    p50s = [median(found["latency_ms"]) for found in rounds]
    return float(max(p50s) / min(p50s))


def _rival(system: System, role: str, measured: Sequence[Measured]) -> Measured | None:
    """The teacher's prompt on the system's own runtime where there is one, with most shots."""
    found = [one for one in measured if one.system.role == role and one.system is not system]
    if system.role in (TEACHER, TEACHER_CACHED):
        return None
    most = max((one.system.shots for one in found), default=0)
    found = [one for one in found if one.system.shots == most]
    found.sort(key=lambda one: one.system.runtime != system.runtime)
    return found[0] if found else None


def _faster(one: Measured, rival: Measured | None) -> dict[str, Any] | None:
    """How many times less time than a rival, on the queries that both were timed on.

    The median over rounds, each of which measured both within minutes.
    """
    if rival is None:
        return None
    ratios = []
    for ours, theirs in zip(one.rounds, rival.rounds, strict=False):
        count = min(len(ours["latency_ms"]), len(theirs["latency_ms"]))
        p50s = [median(found["latency_ms"][:count]) for found in (ours, theirs)]
        ratios.append(p50s[1] / p50s[0])
    return {"system": rival.system.name, "ratio": median(ratios)}
