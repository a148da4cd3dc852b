"""A report like those of `edgecd bench`, made up: every role, several runtimes, all keys."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgecd.bench.report.record import Report, parse_report

ROUNDS, CALLS, EXAMPLES = 3, 40, 1000
REFERENCE = "teacher-icl-cached"
STUDENT = "cd-lora-int8"
HEURISTICS = ("lexical_overlap", "subsequence", "constituent")
MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "isa": ["avx2", "avx512_vnni"],
    "ram_bytes": 2**34,
    "gpu": None,
    "os": "Linux x86_64",
    "versions": {"python": "3.11.7", "onnxruntime": "1.31.1", "torch": "2.13.0"},
}
# name, kind, role, runtime, precision, shots, p50 ms, accuracy, memory MB, disk MB
_SYSTEMS = (
    ("teacher-icl", "icl", "teacher-icl", "torch", "bf16", 16, 1065, 0.754, 1676, 1272),
    (
        "teacher-icl-cached",
        "icl",
        "teacher-icl-cached",
        "torch",
        "bf16",
        16,
        135,
        0.754,
        1767,
        1272,
    ),
    (
        "teacher-icl-onnx-int8",
        "icl",
        "teacher-icl",
        "onnxruntime",
        "int8",
        16,
        690,
        0.741,
        980,
        640,
    ),
    *(
        (f"{role}-onnx-int8{name}", "icl", role, "onnxruntime", "int8", shots, p50, right, mb, 640)
        for role, shots, name, p50, right, mb in (
            ("teacher-icl-cached", 16, "", 92, 0.741, 1010),
            ("teacher-icl", 4, "-4-shots", 231, 0.702, 890),
            ("teacher-icl-cached", 4, "-4-shots", 85, 0.702, 905),
            ("teacher-icl", 8, "-8-shots", 380, 0.722, 921),
            ("teacher-icl-cached", 8, "-8-shots", 88, 0.722, 940),
        )
    ),
    ("same-size-icl", "icl", "same-size-icl", "torch", "bf16", 16, 518, 0.581, 800, 273),
    (
        "same-size-icl-cached",
        "icl",
        "same-size-icl-cached",
        "torch",
        "bf16",
        16,
        74,
        0.581,
        879,
        273,
    ),
    ("same-size-zero-shot", "icl", "same-size-zero-shot", "torch", "bf16", 0, 38, 0.506, 843, 273),
    ("pbft-lora-int8", "bundle", "pbft", "onnxruntime", "int8", 0, 31.9, 0.611, 357, 137),
    ("cd-lora-fp32", "bundle", "student", "onnxruntime", "fp32", 0, 38.9, 0.742, 853, 540),
    (STUDENT, "bundle", "student", "onnxruntime", "int8", 0, 24.2, 0.739, 298, 137),
    ("openvino", "peer", "peer", "openvino", "int8", 0, 31.5, 0.731, 407, 139),
    ("ctranslate2", "peer", "peer", "ctranslate2", "int8", 0, 34.0, 0.728, 244, 138),
    ("llama.cpp", "peer", "peer", "llama.cpp", "q8_0", 0, 91.5, 0.735, 219, 145),
)


def synthetic_report(**changes: Any) -> dict[str, Any]:
    """A report of 17 rows in 3 rounds, the same at each call; `changes` replace its keys."""
    chance = np.random.default_rng(0)
    rows = [_row(chance, *system) for system in _SYSTEMS]
    by_name = {row["system"]: row for row in rows}
    for row in rows:
        row["faster_than"] = {
            "naive": _faster(row, by_name, "teacher-icl"),
            "cached": _faster(row, by_name, "teacher-icl-cached"),
        }
        if row["role"] in ("teacher-icl", "same-size-icl"):
            row["accuracy_from"] = row["system"].replace(row["role"], f"{row['role']}-cached")
            row["naive_equals_cached"] = {
                "examples": 30,
                "label_mismatches": 0,
                "max_abs_logit_diff": 0.138,
            }
    return {
        "schema": 1,
        "task": "mnli-binary",
        "split": "validation",
        "ood": ["hans", "snli-binary"],
        "shots": 16,
        "rounds": ROUNDS,
        "reference": REFERENCE,
        "noise": {"p50_spread_median": 1.06, "p50_spread_max": 1.12, "worst": "llama.cpp"},
        "machine": MACHINE,
        "verdict": "Ship the student: `cd-lora-int8` answers as well as the prompt.",
        "rows": rows,
        "notes": ["hans: 1000 of the 30000 labelled examples of its validation split."],
        **changes,
    }


def read(report: dict[str, Any]) -> Report:
    """The report as its readers take it, of which nothing is left of `report`."""
    return parse_report(json.loads(json.dumps(report)))


def small_report(**changes: Any) -> dict[str, Any]:
    """The same, with a student and the two prompts that it is compared with: quick to draw."""
    report = synthetic_report(**changes)
    names = {STUDENT, REFERENCE, "teacher-icl-onnx-int8", "teacher-icl-cached-onnx-int8"}
    report["rows"] = [row for row in report["rows"] if row["system"] in names]
    return report


def _row(
    chance: np.random.Generator,
    name: str,
    kind: str,
    role: str,
    runtime: str,
    precision: str,
    shots: int,
    p50_ms: float,
    accuracy: float,
    memory_mb: float,
    disk_mb: float,
) -> dict[str, Any]:
    raw = p50_ms * (0.9 + chance.gamma(1.5, 0.1, ROUNDS * CALLS))
    parts = np.split(raw, ROUNDS)
    p50s = [float(np.median(part)) for part in parts]
    p50, p95, p99 = np.percentile(raw, [50, 95, 99]).tolist()
    once = {"load_ms": 9 * p50_ms**0.6, "first_call_ms": 1.2 * p50_ms}
    return {
        "system": name,
        "kind": kind,
        "role": role,
        "precision": precision,
        "runtime": runtime,
        "runtime_version": "1.2.3",
        "provider": "cpu",
        "threads": 2,
        "shots_in_input": shots,
        "tokens_per_query_mean": 45.0 + (40.0 * shots if role.endswith("icl") else 0.0),
        "context_tokens": 40 * shots,
        "parameters": 134_515_008,
        "disk_bytes": int(disk_mb * 1e6),
        "peak_rss_bytes": int(memory_mb * 1e6),
        **once,
        "context_ms": p50_ms * 8 if role.endswith("cached") else None,
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "raw": raw.tolist()},
        "rounds": [{"p50_ms": one, **once, "load_average_before": 1.4} for one in p50s],
        "p50_spread": max(p50s) / min(p50s),
        "throughput_per_s": 1e3 / p50,
        "throughput_batch": 8 if kind == "icl" and role.endswith("cached") else 1,
        "accuracy": accuracy,
        "accuracy_ci95": _interval(accuracy, EXAMPLES),
        "accuracy_uncalibrated": accuracy - 0.01,
        "macro_f1": accuracy - 0.002,
        "ece": 0.081,
        "examples": EXAMPLES,
        "calibration_inputs": 200 if kind == "icl" else 0,
        "agreement_with_teacher": 0.84,
        "accuracy_minus_teacher": _difference(accuracy - 0.754, EXAMPLES),
        "groups": {},
        "draws": _draws(accuracy) if kind == "icl" and shots else None,
        "ood_accuracy": {
            "hans": {
                "accuracy": accuracy - 0.2,
                "ci95": _interval(accuracy - 0.2, EXAMPLES),
                "examples": EXAMPLES,
                "minus_teacher": _difference(accuracy - 0.754, EXAMPLES),
                "groups": {
                    f"{heuristic} ({kind_of})": {
                        "accuracy": min(max(accuracy - 0.2 + sign * 0.25 + tilt, 0.02), 0.98),
                        "examples": 166,
                    }
                    for tilt, heuristic in zip((0, 0.03, -0.04), HEURISTICS, strict=True)
                    for kind_of, sign in (("entailed", 1), ("not", -1))
                },
            },
            "snli-binary": {
                "accuracy": accuracy - 0.04,
                "ci95": _interval(accuracy - 0.04, 400),
                "examples": 400,
                "minus_teacher": _difference(accuracy - 0.76, 400),
                "groups": {},
            },
        },
        "accuracy_from": None,
        "naive_equals_cached": None,
        "energy_j_per_query": None,
        "training": {"seconds": 482.0, "peak_rss_bytes": 2_100_000_000}
        if kind == "bundle"
        else None,
    }


def _interval(share: float, count: int) -> list[float]:
    half = 1.96 * (share * (1 - share) / count) ** 0.5
    return [share - half, share + half]


def _difference(value: float, count: int) -> dict[str, Any]:
    discordant = (0.12 + abs(value)) * count
    half = 1.96 * 0.12**0.5 / count**0.5
    return {
        "difference": value,
        "ci95": [value - half, value + half],
        "mcnemar_p": 0.41 if abs(value) < half else 0.0004,
        "only_this_right": round((discordant + value * count) / 2),
        "only_reference_right": round((discordant - value * count) / 2),
    }


def _draws(accuracy: float) -> dict[str, Any]:
    values = [accuracy, accuracy - 0.021, accuracy + 0.013]
    return {
        "count": 3,
        "examples": 500,
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)),
        "values": values,
    }


def _faster(row: dict[str, Any], rows: dict[str, Any], role: str) -> dict[str, Any] | None:
    if row["role"].startswith("teacher"):
        return None
    prompt = rows[role if row["runtime"] == "torch" else f"{role}-onnx-int8"]
    ratio = prompt["latency_ms"]["p50"] / row["latency_ms"]["p50"]
    return {"system": prompt["system"], "ratio": ratio}
