"""What each part of edgecd's int8 buys: label flips against latency, on one checkpoint.

    python benchmarks/int8_treatments.py RUN --task T --ood T2 --ood T3 --out FILE.json

Variants are made in one process; their answers are compared with the fp32 graph's, and their
latency is measured in rounds that go through all of them in turn, at batch 1.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgecd.export import parity
from edgecd.export.activations import make_feeds, measure_activations
from edgecd.export.families import read_stack
from edgecd.export.graph import write_graph
from edgecd.export.precondition import smooth, spread
from edgecd.export.quantize import INT4_TREATMENTS, Treatment, int8_treatments, quantize, rounder
from edgecd.export.run_folder import RunFolder, load_run
from edgecd.host.machine import describe_machine, load_average
from edgecd.runtime.session import open_session
from edgecd.tasks.encoding import constant_prefix
from edgecd.tasks.metrics import bootstrap_interval
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task

DYNAMIC = Treatment("dynamic", "")
LENGTHS = (16, 64, 256)


def main() -> None:
    options = _options()
    loaded, model = load_run(options.run)
    heldout = parity.read_heldout(options.run, loaded.tokenizer, loaded.template, loaded.max_length)
    measured, _ = parity.split(heldout)
    sets = {name: _inputs(name, loaded, options.limit) for name in (options.task, *options.ood)}
    prefix = constant_prefix(loaded.tokenizer, loaded.template)
    report: dict[str, object] = {
        "machine": describe_machine(),
        "threads": options.threads,
        "load_average_before": load_average(),
        "prefix_tokens": len(prefix),
        "rows": [],
    }
    rows, sessions, reference = [], {}, {}
    with tempfile.TemporaryDirectory(dir=options.out.parent) as work:
        for name, graph in _variants(model, loaded, measured, prefix):
            path = Path(work) / f"{name.replace(' ', '-')}.onnx"
            onnx.save(graph, path)
            sessions[name] = open_session(path, threads=options.threads)
            row = {"variant": name, "model_bytes": path.stat().st_size, "tasks": {}}
            quick = name not in ("fp32", "dynamic", "int4")
            for task, (encoded, gold) in sets.items():
                if quick and task != options.task:
                    continue
                logits = np.stack([_run(sessions[name], ids) for ids in encoded])
                reference.setdefault(task, logits)
                row["tasks"][task] = _figures(logits, reference[task], gold)
            rows.append(row)
            print(name, json.dumps(row["tasks"]), flush=True)
        ids = next(iter(sets.values()))[0][0]
        for row, latency in zip(
            rows, _latencies(sessions, ids, options.rounds).values(), strict=True
        ):
            row["latency_ms"] = latency
    report |= {"rows": rows, "load_average_after": load_average()}
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(_table(rows, options.task))


def _variants(
    model: object, loaded: RunFolder, measured: list, prefix: list[int]
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """(name, graph), each with one more part than the last."""
    feeds = make_feeds(parity.encode(measured, loaded), loaded.pad_token_id)
    bare = write_graph(read_stack(model))
    yield "fp32", bare
    yield "fused", quantize(bare, DYNAMIC)
    stack = read_stack(model, prefix)
    with_prefix = write_graph(stack)
    yield "prefix", quantize(with_prefix, DYNAMIC)
    inputs = measure_activations(with_prefix, feeds)
    smoothed = smooth(stack, inputs)
    yield "prefix smooth", quantize(write_graph(smoothed), DYNAMIC)
    graph = write_graph(spread(smoothed))
    yield "prefix smooth spread", quantize(graph, DYNAMIC)
    seen = measure_activations(graph, feeds)
    round_linear = rounder(seen)
    for treatment in int8_treatments(seen):
        yield treatment.name, quantize(graph, treatment, round_linear)
    yield "dynamic 7 bits", quantize(graph, DYNAMIC, round_linear, 7)
    yield "int4", quantize(with_prefix, INT4_TREATMENTS[0], rounder(inputs))


def _inputs(source: str, loaded: RunFolder, limit: int | None) -> tuple[list, np.ndarray]:
    task = load_task(source)
    split = next(name for name in ("test", "validation") if name in task.data)
    examples = read_split(task, split, limit).examples
    encoded = parity.encode([example.fields for example in examples], loaded)
    labels = loaded.template.labels
    return [one.ids for one in encoded], np.array([labels.index(e.label) for e in examples])


def _run(session: onnxruntime.InferenceSession, ids: list[int]) -> np.ndarray:
    feed = np.array([ids], np.int64)
    return session.run(None, {"input_ids": feed, "attention_mask": np.ones_like(feed)})[0][0]


def _figures(logits: np.ndarray, reference: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    answers, expected = logits.argmax(-1), reference.argmax(-1)
    right = (answers == gold).astype(float)
    low, high = bootstrap_interval(right)
    margins = [x[:, 0] - x[:, 1] for x in (logits, reference)]
    return {
        "examples": len(gold),
        "flips_pct": round(100 * float((answers != expected).mean()), 3),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_ci95": [round(low, 4), round(high, 4)],
        "accuracy_minus_fp32": round(float(right.mean() - (expected == gold).mean()), 4),
        "margin_rmse": round(float(np.sqrt(np.mean((margins[0] - margins[1]) ** 2))), 4),
    }


def _latencies(sessions: dict, ids: list[int], rounds: int) -> dict[str, dict]:
    times: dict[str, dict] = {name: {length: [] for length in LENGTHS} for name in sessions}
    for _ in range(rounds):
        for length in LENGTHS:
            prompt = (ids * (length // len(ids) + 1))[:length]
            for name, session in sessions.items():
                _run(session, prompt)
                for _ in range(3):
                    began = time.perf_counter()
                    _run(session, prompt)
                    times[name][length].append((time.perf_counter() - began) * 1e3)
    return {
        name: {
            str(length): {"p50": round(float(np.median(raw)), 3), "raw": np.round(raw, 3).tolist()}
            for length, raw in lengths.items()
        }
        for name, lengths in times.items()
    }


def _table(rows: list[dict], task: str) -> str:
    base = next(row for row in rows if row["variant"] == "fused")["latency_ms"]
    lines = ["| variant | flips % | accuracy | MB | " + " | ".join(f"x{n}" for n in LENGTHS) + " |"]
    lines.append("|---" * (4 + len(LENGTHS)) + "|")
    for row in rows:
        figures = row["tasks"][task]
        ratios = [f"{row['latency_ms'][str(n)]['p50'] / base[str(n)]['p50']:.2f}" for n in LENGTHS]
        lines.append(
            f"| {row['variant']} | {figures['flips_pct']:.2f} | {figures['accuracy']:.3f} | "
            f"{row['model_bytes'] / 1e6:.1f} | " + " | ".join(ratios) + " |"
        )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--task", required=True)
    parser.add_argument("--ood", action="append", default=[])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
