"""A tiny world for MEND: a language model, tasks in two families, a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import tiny

PARTITION = f"""
name = "tiny"
[split.to-size]
train = ["pairs"]
test = ["size"]
[tasks.same]
family = "pairs"
template = {json.dumps(tiny.TEMPLATE)}
labels = {{ entailment = " True", contradiction = " False" }}
[tasks.same.data]
train = "same.jsonl"
test = "same.jsonl"
[tasks.words]
family = "pairs"
template = "{{premise}} It is:"
labels = {{ entailment = " positive", contradiction = " negative" }}
[tasks.words.data]
train = "same.jsonl"
test = "same.jsonl"
[tasks.size]
template = "Text: {{premise}}\\nLong:"
labels = {{ entailment = " Yes", contradiction = " No" }}
[tasks.size.data]
train = "size.jsonl"
test = "size.jsonl"
"""


def make_world(folder: Path, family: tiny.Family = "llama", bos: bool = False) -> Path:
    """Write model, partition, data and corpus into `folder`; returns it."""
    tokenizer = tiny.tiny_tokenizer(bos)
    tiny.save_model(tiny.tiny_causal_lm(family, len(tokenizer)), tokenizer, folder / "model")
    for name, seed in (("same", 1), ("size", 2)):
        rows = [{**row["fields"], "label": row["label"]} for row in tiny.examples(60, seed)]
        tiny.write_jsonl(folder / f"{name}.jsonl", rows)
    (folder / "partition.toml").write_text(PARTITION, encoding="utf-8")
    passages = [" ".join(tiny.sentence(n * 10 + k) for k in range(8)) for n in range(20)]
    tiny.write_jsonl(folder / "corpus.jsonl", [{"text": passage} for passage in passages])
    return folder


def mend_options(folder: Path, **changes: Any) -> dict[str, Any]:
    """Options of a training that takes seconds in this world."""
    return {
        "student": str(folder / "model"),
        "partition": str(folder / "partition.toml"),
        "corpus": str(folder / "corpus.jsonl"),
        "vectors": 4,
        "shots": 4,
        "queries": 2,
        "max_context": 200,
        "max_query": 60,
        "pretrain_steps": 6,
        "pretrain_lr": 1e-3,
        "steps": 6,
        "lr": 1e-3,
        "device": "cpu",
        "dtype": "float32",
        **changes,
    }
