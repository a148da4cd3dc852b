"""From what a process measured to a row of the report: all figures are worked out here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecd.bench.data import EvalSet
from edgecd.bench.systems import TEACHER_CACHED, System
from edgecd.metrics import (
    accuracy,
    agreement,
    bootstrap_interval,
    expected_calibration_error,
    log_softmax,
    macro_f1,
)

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """A system's answers: per set, log-probabilities [examples, labels] in the task's order,
    calibrated where the system is a prompt, and as they came."""

    log_probabilities: Mapping[str, NDArray[np.float64]]
    uncalibrated: Mapping[str, NDArray[np.float64]]
    calibrated_on: int  # inputs; 0 when not calibrated

    def predicted(self, name: str) -> NDArray[np.int64]:
        """Columns of the answers on one set."""
        columns: NDArray[np.int64] = self.log_probabilities[name].argmax(axis=-1)
        return columns


def judge(system: System, result: Result, labels: Sequence[str]) -> Judged:
    """Order the columns as the task's labels, and calibrate a prompt as a distillation does.

    Calibration takes off each label's mean log-probability over inputs whose labels nobody saw.
    """
    order = [result["labels"].index(label) for label in labels]
    plain = {
        name: log_softmax(np.array(scores)[:, order]) for name, scores in result["scores"].items()
    }
    sample = result["calibration"] or []
    if system.kind != "icl" or not sample:
        return Judged(plain, plain, 0)
    mean = log_softmax(np.array(sample)[:, order]).mean(axis=0)
    return Judged(
        {name: log_softmax(table - mean) for name, table in plain.items()}, plain, len(sample)
    )


def make_rows(
    systems: Sequence[System],
    results: Mapping[str, Result],
    sets: Sequence[EvalSet],
    labels: Sequence[str],
    shots: int,
) -> list[dict[str, Any]]:
    """The report's rows, in the order of `systems`; those that were skipped have none."""
    done = [system for system in systems if "skipped" not in results[system.name]]
    judged = {
        system.name: judge(system, results[system.name], labels)
        for system in done
        if results[system.name]["scores"] is not None
    }
    teacher = judged.get(TEACHER_CACHED)
    rows = []
    for system in done:
        answers = judged.get(system.accuracy_from or system.name)
        row = _speed(system, results[system.name], shots if system.prompted else 0)
        row |= _quality(system, answers, teacher, sets, labels)
        row["accuracy_from"] = system.accuracy_from
        row["naive_equals_cached"] = (
            compare(results[system.name], results[system.accuracy_from])
            if system.accuracy_from
            else None
        )
        rows.append(row)
    return rows


def compare(naive: Result, cached: Result) -> dict[str, Any]:
    """Do a prompt read anew and one read once give the same answers? On the timed queries."""
    count = min(len(naive["timed_scores"]), len(cached["timed_scores"]))
    one, other = (np.array(result["timed_scores"][:count]) for result in (naive, cached))
    return {
        "examples": count,
        "label_mismatches": int(np.sum(one.argmax(-1) != other.argmax(-1))),
        "max_abs_logit_diff": float(np.abs(one - other).max()),
    }


def _speed(system: System, result: Result, shots: int) -> dict[str, Any]:
    latencies_ms = result["latency_ms"]
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99]).tolist()
    batched = result["throughput_per_s"] is not None and result["batch_size"] > 1
    return {
        "system": system.name,
        "kind": system.kind,
        "role": system.role,
        "precision": result["precision"],
        "runtime": result["runtime"],
        "runtime_version": result["runtime_version"],
        "provider": result["provider"],
        "threads": result["threads"],
        "shots_in_input": shots,
        "tokens_per_query_mean": result["tokens_per_query_mean"],
        "context_tokens": result["context_tokens"],
        "parameters": result["parameters"],
        "disk_bytes": result["disk_bytes"],
        "peak_rss_bytes": result["peak_rss_bytes"],
        "peak_rss_evaluation_bytes": result.get("peak_rss_evaluation_bytes"),
        "peak_gpu_bytes": result["peak_gpu_bytes"],
        "import_ms": result["import_ms"],
        "load_ms": result["load_ms"],
        "context_ms": result["context_ms"],
        "first_call_ms": result["first_call_ms"],
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "raw": latencies_ms},
        "throughput_per_s": (
            result["throughput_per_s"] if batched else 1e3 / float(np.mean(latencies_ms))
        ),
        "throughput_batch": result["batch_size"] if batched else 1,
        "load_average_before": result.get("load_average_before"),
        "modules": result["modules"],
    }


def _quality(
    system: System,
    answers: Judged | None,
    teacher: Judged | None,
    sets: Sequence[EvalSet],
    labels: Sequence[str],
) -> dict[str, Any]:
    main, *others = sets
    if answers is None:  # the cached row that it would come from was skipped
        return {
            **dict.fromkeys(
                ("accuracy", "accuracy_ci95", "accuracy_uncalibrated", "macro_f1", "ece")
            ),
            "examples": 0,
            "calibration_inputs": 0,
            "agreement_with_teacher": None,
            "accuracy_minus_teacher": None,
            "ood_accuracy": {one.name: None for one in others},
        }
    truth = _columns(main, labels)
    predicted = answers.predicted(main.name)
    row: dict[str, Any] = {
        "accuracy": accuracy(predicted, truth),
        "accuracy_ci95": list(bootstrap_interval(predicted == truth)),
        "accuracy_uncalibrated": accuracy(answers.uncalibrated[main.name].argmax(-1), truth),
        "macro_f1": macro_f1(predicted, truth),
        "ece": expected_calibration_error(np.exp(answers.log_probabilities[main.name]), truth),
        "examples": len(truth),
        "calibration_inputs": answers.calibrated_on,
        "agreement_with_teacher": None,
        "accuracy_minus_teacher": None,
        "ood_accuracy": {
            one.name: _one_ood(answers.predicted(one.name), _columns(one, labels)) for one in others
        },
    }
    if teacher is not None:
        taught = teacher.predicted(main.name)
        row["agreement_with_teacher"] = agreement(predicted, taught)
        # Paired, on the same examples: much narrower than two intervals side by side.
        gain = (predicted == truth).astype(float) - (taught == truth)
        row["accuracy_minus_teacher"] = {
            "difference": float(gain.mean()),
            "ci95": list(bootstrap_interval(gain)),
        }
    return row


def _one_ood(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "accuracy": accuracy(predicted, truth),
        "ci95": list(bootstrap_interval(predicted == truth)),
        "examples": len(truth),
    }


def _columns(one: EvalSet, labels: Sequence[str]) -> NDArray[np.int64]:
    return np.array([list(labels).index(label) for label in one.labels])
