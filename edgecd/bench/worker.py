"""The process that times or evaluates one system: `python -m edgecd.bench.worker SPEC RESULT`.

It imports only what the system needs, so that a bundle's memory and start-up time are those of
a device without PyTorch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecd.formats.manifest import CONTEXT
from edgecd.host.energy import energy_j, spent_j
from edgecd.host.memory import peak_rss_bytes
from edgecd.host.processes import end_with_parent, run_spec

Fields = Mapping[str, str]
Shots = Sequence[tuple[Fields, str]]
_WATCHED = ("torch", "transformers", "onnxruntime", "onnx", "tokenizers", "numpy")


@dataclass(frozen=True)
class Loaded:
    """A system ready to answer.

    `answer` is one query from text to label scores; `answer_all` many, in batches where batches
    give the same answers (`batch_size` of them); `answer_after` many after other demonstrations,
    for a prompt that can take them. `facts` go into the result as they are; `tokens` counts the
    tokens that are read for one query.
    """

    answer: Callable[[Fields], list[float]]
    answer_all: Callable[[Sequence[Fields]], list[list[float]]]
    batch_size: int
    tokens: Callable[[Fields], int]
    facts: Mapping[str, Any]
    answer_after: Callable[[Shots, Sequence[Fields]], list[list[float]]] | None = None


class SkippedError(Exception):
    """The system cannot answer this question at all; the text says why."""


def work(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Load the system, then time it or evaluate it, as `do` says; returns everything measured.

    `spec`: `do`, `system` (fields of System), `folder` (what was made for a converted system),
    `template`, `verbalizer`, `shots`, `max_length`, `provider`, `dtype`, `threads`, and what
    `time_calls` or `evaluate` need. No label is passed: the process cannot know the answers.
    """
    try:
        loaded = _load(spec)
    except SkippedError as why:
        return {"skipped": str(why)}
    return time_calls(loaded, spec) if spec["do"] == "time" else evaluate(loaded, spec)


def time_calls(loaded: Loaded, spec: Mapping[str, Any]) -> dict[str, Any]:
    """First call, `warmup` calls, then `timed_calls`, one query at a time from `queries`."""
    queries: list[Fields] = spec["queries"]
    _, first_call_ms = _timed(loaded.answer, queries[0])
    for place in range(spec["warmup"]):
        loaded.answer(queries[place % len(queries)])
    latencies_ms, answers = [], []
    energy = energy_j()
    for place in range(spec["timed_calls"]):
        scores, took_ms = _timed(loaded.answer, queries[place % len(queries)])
        latencies_ms.append(took_ms)
        answers.append(scores)
    spent = spent_j(energy, energy_j())
    return {
        **loaded.facts,
        "threads": spec["threads"],
        "first_call_ms": first_call_ms,
        "latency_ms": latencies_ms,
        "timed_scores": answers[: len(queries)],
        "energy_j_per_query": None if spent is None else spent / len(latencies_ms),
        # Of the one query of a device: batches need more.
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_gpu_bytes": _peak_gpu_bytes(),
        "tokens_per_query_mean": sum(map(loaded.tokens, queries)) / len(queries),
        "modules": [name for name in _WATCHED if name in sys.modules],
    }


def evaluate(loaded: Loaded, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of every input of `sets` and `calibration`, and of `draws` where it can.

    `draws` are other demonstrations; after each, `draw_queries` and `draw_calibration` are asked.
    """
    sets: dict[str, list[Fields]] = spec["sets"]
    scores, seconds = {}, 0.0
    for name, inputs in sets.items():
        started = time.perf_counter()
        scores[name] = loaded.answer_all(inputs)
        seconds += time.perf_counter() - started
    result: dict[str, Any] = {
        "labels": loaded.facts["labels"],
        "scores": scores,
        "calibration": loaded.answer_all(spec["calibration"]) if spec["calibration"] else None,
        "throughput_per_s": sum(map(len, sets.values())) / seconds,
        "batch_size": loaded.batch_size,
        "peak_rss_evaluation_bytes": peak_rss_bytes(),
        "draws": [],
    }
    if loaded.answer_after is not None:
        result["draws"] = [
            {
                "scores": loaded.answer_after(shots, spec["draw_queries"]),
                "calibration": loaded.answer_after(shots, spec["draw_calibration"]),
            }
            for shots in spec["draws"]
        ]
    return result


def _load(spec: Mapping[str, Any]) -> Loaded:
    """Import what the system needs, and load it."""
    kind, runtime = spec["system"]["kind"], spec["system"]["runtime"]
    started = time.perf_counter()
    if kind == "bundle":
        return _load_bundle(spec)
    if kind == "peer":
        from edgecd.bench import peers

        return peers.load(spec)
    if runtime == "onnxruntime":
        from edgecd.bench.systems import onnx_prompt

        return onnx_prompt.load(spec)
    from edgecd.bench.systems import torch_prompt as icl  # PyTorch comes in here

    return icl.load(spec, import_ms=(time.perf_counter() - started) * 1e3)


def _load_bundle(spec: Mapping[str, Any]) -> Loaded:
    folder = Path(spec["system"]["model"])
    started = time.perf_counter()
    import onnxruntime
    import tokenizers  # noqa: F401  (a bundle cannot be loaded without it: part of the start-up)

    from edgecd.formats.precision import PRECISIONS
    from edgecd.runtime.predictor import Predictor

    imported = time.perf_counter()
    given = spec["system"].get("context")
    predictor = Predictor.load(folder, spec["provider"], spec["threads"], given)
    ready = time.perf_counter()
    manifest = predictor.manifest

    def answer(fields: Fields) -> list[float]:
        row: list[float] = predictor.logits([fields])[0].tolist()
        return row

    def answer_all(inputs: Sequence[Fields]) -> list[list[float]]:
        rows: list[list[float]] = predictor.logits(inputs).tolist()
        return rows

    return Loaded(
        answer=answer,
        answer_all=answer_all,
        batch_size=PRECISIONS[manifest.precision].batch_rows,
        tokens=lambda fields: len(predictor.encode([fields])[0].ids),
        facts={
            "runtime": "onnxruntime",
            "runtime_version": onnxruntime.__version__,
            "provider": predictor.session.get_providers()[0],
            "precision": manifest.precision,
            "labels": list(predictor.labels),
            "parameters": manifest.provenance.get("parameters"),
            "disk_bytes": _disk_bytes(folder, given),
            "context_tokens": predictor.context.positions if predictor.context else 0,
            "import_ms": (imported - started) * 1e3,
            "load_ms": (ready - imported) * 1e3,
            "context_ms": None,
        },
    )


def _disk_bytes(folder: Path, context: str | None) -> int:
    """Of the bundle, with the context that is used instead of its own."""
    files = [file for file in folder.iterdir() if context is None or file.name != CONTEXT]
    given = [] if context is None else [Path(context)]
    return sum(file.stat().st_size for file in (*files, *given))


def _timed(answer: Callable[[Fields], list[float]], fields: Fields) -> tuple[list[float], float]:
    started = time.perf_counter()
    scores = answer(fields)
    return scores, (time.perf_counter() - started) * 1e3


def _peak_gpu_bytes() -> int | None:
    """PyTorch's peak on the GPU; onnxruntime has no such count."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


if __name__ == "__main__":
    end_with_parent()
    # By its importable name: `icl` must raise and return this module's own classes.
    from edgecd.bench import worker

    sys.exit(run_spec(worker.work, *sys.argv[1:]))
