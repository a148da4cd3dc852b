"""How much the prefix KV cache saves: the same queries, scored with it and without.

    python benchmarks/teacher_scoring.py TASK.toml MODEL [--shots 16] [--queries 24]

Rounds alternate between the two ways, so that a noisy machine hurts both. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

from edgecd.lm.models import load_language_model, pick_dtype
from edgecd.lm.prompted import prompted
from edgecd.lm.scorer import make_scorer
from edgecd.tasks.demonstrations import draw_demonstrations
from edgecd.tasks.metrics import log_softmax
from edgecd.tasks.splits import read_split
from edgecd.tasks.task import load_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("model")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    device = torch.device("cpu")
    task = load_task(given.task)
    lm = load_language_model(given.model, device, pick_dtype("auto", device))
    scorer = make_scorer(lm, task.template)
    examples = read_split(task, "train").examples
    shown = draw_demonstrations(examples, task.labels, given.shots, seed=0)
    context = shown.ids(lm.text_tokenizer, task.template)
    rest = [example.fields for example in examples if example not in shown][: given.queries]
    naive_one = prompted(scorer, shown, 256, cached=False, rows=1)
    cached_s, naive_s = [], []
    for _ in range(given.rounds):
        began = time.perf_counter()
        cached = log_softmax(prompted(scorer, shown, 256).logits(rest))
        cached_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        naive = naive_one.logits(rest)
        naive_s.append(time.perf_counter() - began)
    ratios = [slow / fast for slow, fast in zip(naive_s, cached_s, strict=True)]
    per_query = [seconds / len(rest) for seconds in naive_s]
    # cached_s has the one reading of the context in it: its share falls with more queries
    result = {
        "model": lm.name.rstrip("/").split("/")[-1],
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "context_tokens": len(context),
        "queries": len(rest),
        "cached_s": cached_s,
        "naive_s": naive_s,
        "naive_s_per_query": statistics.median(per_query),
        "speedup": statistics.median(ratios),
        "max_abs_log_probability_difference": float(np.abs(cached - log_softmax(naive)).max()),
        "labels_that_differ": int((cached.argmax(-1) != naive.argmax(-1)).sum()),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
