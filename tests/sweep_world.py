"""What the tests of sweeps share: three tiny models, a task and one out of domain, a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import tiny

ROOT = Path(__file__).parents[1]
SMALL = """
shots = [2]
seeds = [0, 1]
limit = 16
[train]
transfer = 24
heldout = 8
dtype = "float32"
[[runs]]
method = "icl"
model = "student"
[[runs]]
method = "pbft"
adapters = ["bitfit"]
head = "vocabulary"
[runs.train]
epochs = 3
[[runs]]
method = "cd"
adapters = ["lora"]
"""


def make_world(root: Path) -> dict[str, Any]:
    """Write models, data and `small.toml` into `root`; returns the options of a sweep."""
    for name, family, bos in (
        ("teacher", "qwen2", False),
        ("student", "opt", True),
        ("llama", "llama", False),
    ):
        tokenizer = tiny.tiny_tokenizer(bos=bos)
        model = tiny.tiny_causal_lm(family, len(tokenizer))  # type: ignore[arg-type]
        tiny.save_model(model, tokenizer, root / name)
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(160)]
    for name, start, stop in (("train", 0, 96), ("validation", 96, 128), ("test", 128, 160)):
        tiny.write_jsonl(root / f"{name}.jsonl", rows[start:stop])
    (root / "task.toml").write_text(tiny.TASK + 'test = "test.jsonl"\n')
    (root / "ood.toml").write_text(tiny.TASK.replace('"pairs"', '"other"'))
    (root / "small.toml").write_text(SMALL)
    return {
        "task": str(root / "task.toml"),
        "ood": [str(root / "ood.toml")],
        "teacher": str(root / "teacher"),
        "student": str(root / "student"),
    }


def without_cost(out: Path) -> str:
    """A sweep's table up to its costs, which are those of the moment."""
    return (out / "table.md").read_text().split("## Cost")[0]
