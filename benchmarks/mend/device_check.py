"""Does the device do what PyTorch does? `python benchmarks/mend/device_check.py RUN --task T`.

Makes a context of the same demonstrations with the distiller in PyTorch and with its ONNX export,
answers real queries with each (PyTorch after its own, the ONNX bundle after the device's), and says
how many labels differ, by how much the logits, how large contexts are, and how long one loads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgecd import Predictor
from edgecd.contexts.compress import compress
from edgecd.contexts.config import CompressConfig
from edgecd.export.compressor import export_compressor
from edgecd.export.language_model import export_language_model
from edgecd.files import read_json, write_json
from edgecd.formats.context import read_context, write_context
from edgecd.lm.models import load_language_model
from edgecd.lm.past import prefix_of
from edgecd.lm.prompted import Prompted
from edgecd.lm.scorer import make_scorer
from edgecd.runtime.compress import compress_here
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task

LOADS = 30


def main(run: Path, task_file: str, queries: int, shots: int, out: Path | None) -> dict[str, Any]:
    """Measure, print, and write JSON when `out` is given."""
    task = load_task(task_file)
    model = read_json(run / "run.json")["student"]
    split = next(name for name in ("validation", "test") if name in task.data)
    fields = [example.fields for example in read_split(task, split, queries).examples]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        export_compressor(run, work / "compressor")
        export_language_model(model, task, work / "lm")
        asked = CompressConfig(task=task.source, distiller=run, shots=shots)
        in_torch = compress(asked)
        write_context(work / "exact", in_torch, "fp16")
        write_context(work / "small", in_torch, "int8")
        compressor, lm_bundle = work / "compressor", work / "lm"
        write_context(
            work / "device",
            compress_here(task, compressor, lm_bundle, shots, asked.seed, asked.max_length),
            "fp16",
        )
        contexts = {name: read_context(work / name) for name in ("exact", "small", "device")}
        there = _torch_answers(model, contexts["exact"], fields)
        lm = Predictor.load(work / "lm")
        here = {name: lm.with_context(one).logits(fields) for name, one in contexts.items()}
        loads = []
        for _ in range(LOADS):
            began = time.perf_counter()
            lm.with_context(read_context(work / "small"))
            loads.append((time.perf_counter() - began) * 1e3)
        found = {
            "queries": len(fields),
            "positions": contexts["exact"].positions,
            "size_bytes_int8": (work / "small").stat().st_size,
            "size_bytes_fp16": (work / "exact").stat().st_size,
            "context_load_p50_ms": statistics.median(loads),
            **{
                f"{name}_{what}": value
                for name, logits in here.items()
                for what, value in (
                    ("labels_that_differ", int((logits.argmax(-1) != there.argmax(-1)).sum())),
                    ("max_abs_logit_diff", float(np.abs(_relative(logits - there)).max())),
                )
            },
        }
    for key, value in found.items():
        print(f"{key:32} {value:.5g}" if isinstance(value, float) else f"{key:32} {value:,}")
    if out is not None:
        write_json(out, found)
    return found


def _torch_answers(model: str, context: Any, fields: Any) -> np.ndarray:
    lm = load_language_model(model, torch.device("cpu"), torch.float32)
    scorer = make_scorer(lm, context.facts.prompt)
    answerer = Prompted(scorer, 256, prefix=prefix_of(context.past, lm))
    return answerer.logits(fields) - np.array(context.facts.calibration or 0, np.float32)


def _relative(difference: np.ndarray) -> np.ndarray:
    """Logits differ from log-probabilities by a number for each query, which is of no interest."""
    return np.asarray(difference - difference.mean(axis=1, keepdims=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--task", required=True)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    main(given.run, given.task, given.queries, given.shots, given.out)
