"""The process that times or evaluates one system: `python -m edgecd.bench.worker SPEC RESULT`.

It imports only what the system needs, so that a bundle's memory and start-up time are those of
a device without PyTorch.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from edgecd.bench.exchange import Draw, Evaluation, Scores, Skipped, Spec, Timing
from edgecd.bench.lengths import time_lengths
from edgecd.bench.systems.base import ONNX, Fields, Loaded, SkippedError
from edgecd.formats.record import from_json, to_json
from edgecd.host.energy import energy_j, spent_j
from edgecd.host.memory import peak_rss_bytes
from edgecd.host.processes import end_with_parent, run_spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgecd.tasks.answerer import Answerer

_WATCHED = ("torch", "transformers", "onnxruntime", "onnx", "tokenizers", "sklearn", "numpy")


def work(asked: Any) -> Any:
    """Do what a Spec in JSON asks; returns a Timing, an Evaluation or a Skipped in JSON."""
    return to_json(answer(from_json(Spec, asked, "spec")))


def answer(spec: Spec) -> Timing | Evaluation | Skipped:
    """Load the system, then time it or evaluate it, as `do` says; returns everything measured."""
    try:
        loaded = load(spec)
        return time_calls(loaded, spec) if spec.do == "time" else evaluate(loaded, spec)
    except SkippedError as why:
        return Skipped(str(why))


def load(spec: Spec) -> Loaded:
    """Import what the system needs, and load it; SkippedError when it cannot answer at all."""
    started = time.perf_counter()
    if spec.system.kind == "bundle":
        from edgecd.bench.systems import bundle

        return bundle.load(spec)
    if spec.system.kind == "peer":
        from edgecd.bench.systems import peer

        return peer.load(spec)
    if spec.system.kind == "rival":
        from edgecd.bench.systems import rival

        return rival.load(spec)
    if spec.system.runtime == ONNX:
        from edgecd.bench.systems import onnx_prompt

        return onnx_prompt.load(spec)
    from edgecd.bench.systems import torch_prompt  # PyTorch comes in here

    return torch_prompt.load(spec, import_ms=(time.perf_counter() - started) * 1e3)


def time_calls(loaded: Loaded, spec: Spec) -> Timing:
    """First call, `warmup` calls, then `timed_calls`, one query at a time; then the `lengths`."""
    answerer, queries = loaded.answerer, spec.queries
    _, first_call_ms = _timed(answerer, queries[0])
    for place in range(spec.warmup):
        answerer.logits([queries[place % len(queries)]])
    latencies_ms, scores = [], []
    energy = energy_j()
    for place in range(spec.timed_calls):
        found, took_ms = _timed(answerer, queries[place % len(queries)])
        latencies_ms.append(took_ms)
        scores.append(found)
    spent = spent_j(energy, energy_j())
    return Timing(
        metadata=loaded.metadata,
        threads=spec.threads,
        first_call_ms=first_call_ms,
        latency_ms=tuple(latencies_ms),
        timed_scores=tuple(_rows(one)[0] for one in scores[: len(queries)]),
        energy_j_per_query=None if spent is None else spent / len(latencies_ms),
        # Of the one query of a device: batches need more.
        peak_rss_bytes=peak_rss_bytes(),
        peak_gpu_bytes=_peak_gpu_bytes(),
        tokens_per_query_mean=sum(len(one.ids) for one in answerer.encode(queries)) / len(queries),
        modules=tuple(name for name in _WATCHED if name in sys.modules),
        # Last: long queries would count in the memory of usual ones.
        lengths=time_lengths(answerer, spec.long_texts, spec.lengths),
    )


def evaluate(loaded: Loaded, spec: Spec) -> Evaluation:
    """The scores of every input of `sets` and `calibration`, and of `draws` where it can.

    Raises SkippedError when one of the draws does not fit.
    """
    scores, seconds = {}, 0.0
    for name, inputs in spec.sets.items():
        started = time.perf_counter()
        scores[name] = _rows(loaded.answerer.logits(inputs))
        seconds += time.perf_counter() - started
    calibration = _rows(loaded.answerer.logits(spec.calibration)) if spec.calibration else None
    peak_bytes = peak_rss_bytes()
    draws: list[Draw] = []
    if loaded.after is not None:
        for other in map(loaded.after, spec.draws):
            found = (other.logits(asked) for asked in (spec.draw_queries, spec.draw_calibration))
            draws.append(Draw(*map(_rows, found)))
    return Evaluation(
        labels=loaded.answerer.labels,
        scores=scores,
        calibration=calibration,
        throughput_per_s=sum(map(len, spec.sets.values())) / seconds,
        batch_size=loaded.batch_size,
        peak_rss_evaluation_bytes=peak_bytes,
        draws=tuple(draws),
    )


def _timed(answerer: Answerer, fields: Fields) -> tuple[NDArray[np.float32], float]:
    started = time.perf_counter()
    scores = answerer.logits([fields])
    return scores, (time.perf_counter() - started) * 1e3


def _rows(scores: NDArray[np.float32]) -> Scores:
    return tuple(map(tuple, scores.tolist()))


def _peak_gpu_bytes() -> int | None:
    """PyTorch's peak on the GPU; onnxruntime has no such count."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run_spec(work, *sys.argv[1:]))
