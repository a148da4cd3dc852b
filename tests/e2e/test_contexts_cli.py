"""Contexts as a user types them: train a distiller, compress, export, predict, test, look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import mend_world, tiny
from tests.e2e.test_cli import edgecd

CONFIG = """
method = "mend"
student = "model"
partition = "partition.toml"
corpus = "corpus.jsonl"
adapter = "lora"
vectors = 4
shots = 4
queries = 2
max_context = 200
max_query = 60
pretrain_steps = 4
steps = 4
"""
FIELDS = ("--field", "premise=A cat sits.", "--field", "hypothesis=A cat sleeps.")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = mend_world.make_world(tmp_path_factory.mktemp("contexts"))
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(80)]
    tiny.write_jsonl(root / "train.jsonl", rows[:50])
    tiny.write_jsonl(root / "validation.jsonl", rows[50:])
    (root / "task.toml").write_text(tiny.TASK)
    (root / "mend.toml").write_text(CONFIG)
    edgecd("train", "--config", root / "mend.toml", "--out", root / "run")
    edgecd("export", root / "model", "--task", root / "task.toml", "--out", root / "bundle")
    return root


def test_a_context_of_each_kind_answers(world: Path) -> None:
    task = ("--task", world / "task.toml", "--max-length", 64)
    edgecd("compress", "--distiller", world / "run", *task, "--shots", 4, "--out", world / "m.st")
    model = ("--model", world / "model", *task, "--shots", 4)
    edgecd("compress", *model, "--out", world / "n.st")
    kept = json.loads(
        edgecd("compress", *model, "--positions", 9, "--out", world / "a.st", "--json")[0]
    )
    assert kept["method"] == "matching" and kept["positions"] == 9
    edgecd("export", world / "run", "--out", world / "compressor")
    shown, _ = edgecd(
        *("compress", "--distiller", world / "compressor", "--bundle", world / "bundle", *task),
        *("--shots", 4, "--out", world / "d.st", "--json"),
    )
    facts = json.loads(shown)
    assert facts["method"] == "mend" and facts["positions"] == 4 and facts["calibration"]
    options = ("--steps", 5, "--vectors", 4, "--shots", 4, "--max-length", 64)
    edgecd(
        *("train", "--method", "prompt-tuning", "--task", world / "task.toml"),
        *("--student", world / "model", *options, "--out", world / "tuned"),
    )
    answers = {}
    for name in ("m.st", "d.st", "n.st", "a.st", "tuned/context.safetensors", None):
        chosen = () if name is None else ("--context", world / name)
        answers[name] = json.loads(
            edgecd("predict", world / "bundle", *chosen, *FIELDS, "--json")[0]
        )
    made, device = (answers[name]["probabilities"]["entailment"] for name in ("m.st", "d.st"))
    assert made == pytest.approx(device, abs=0.02)
    assert len({json.dumps(answers[name]) for name in ("n.st", "a.st", None)}) == 3
    inspected = json.loads(edgecd("inspect", world / "m.st", "--json")[0])
    assert inspected["shots"] == 4 and inspected["language_model"]["name"] == "model"
    edgecd("verify", world / "bundle")


def test_bench_compares_contexts_with_prompts(world: Path) -> None:
    task = ("--task", world / "task.toml")
    for name, options in {
        "mend": ("--distiller", world / "run"),
        "all": ("--model", world / "model"),
    }.items():
        out = world / f"{name}.safetensors"
        edgecd("compress", *options, *task, "--shots", 4, "--fp16", "--out", out)
    files = [world / "mend.safetensors", world / "all.safetensors"]
    contexts = [part for file in files for part in ("--context", file)]
    shown, _ = edgecd(
        *("bench", world / "bundle", *contexts, *task, "--shots", 4, "--few-shots", "none"),
        *("--baselines", "same-size-icl-cached", "--prompt-runtimes", "onnxruntime"),
        *("--student", world / "model"),
        *("--limit", 12, "--rounds", 1, "--latency-queries", 4, "--draws", 1),
        *("--out", world / "report", "--json"),
    )
    rows = {row["system"]: row for row in json.loads(shown)["rows"]}
    assert rows["mend"]["role"] == "mend" and rows["all"]["role"] == "context"
    assert rows["mend"]["context_tokens"] == 4 < rows["all"]["context_tokens"]
    # the same demonstrations, kept whole in a context or in the prompt's own graph
    assert rows["all"]["accuracy"] == rows["same-size-icl-cached-onnx-fp32"]["accuracy"]


def test_a_meta_test_goes_on_and_says_what_it_found(world: Path) -> None:
    command = (
        *("meta-test", world / "run", "--seeds", "13,21", "--limit", 6, "--prompt-steps", 2),
        *("--matching", "4,9", "--shots", "2,4", "--out", world / "meta"),
    )
    result = json.loads(edgecd(*command, "--json")[0])
    assert [(one["system"], one["shots"]) for one in result["systems"]] == [
        ("zero-shot", 0),
        ("icl", 2),
        ("matching-4", 2),
        ("matching-9", 2),
        ("run", 2),
        ("prompt-tuning", 2),
        ("icl", 4),
        ("matching-4", 4),
        ("matching-9", 4),
        ("run", 4),
        ("prompt-tuning", 4),
    ]
    rows = (world / "meta" / "rows.jsonl").read_text().splitlines(keepends=True)
    (world / "meta" / "rows.jsonl").write_text("".join(rows[:5]) + rows[5][:20])  # as after a kill
    again = json.loads(edgecd(*command, "--json")[0])
    assert again["systems"] == result["systems"]
    table = (world / "meta" / "table.md").read_text()
    assert "| run | 4 | 4 |" in table and "| matching-9 | 4 | 9 |" in table
    assert (world / "meta" / "accuracy.png").stat().st_size > 5_000
    _, error = edgecd(*command[:-4], "--shots", "4", "--out", world / "meta", code=2)
    assert "other options or runs" in error


def test_the_attention_of_a_distiller_is_drawn(world: Path) -> None:
    shown, _ = edgecd(
        *("inspect", world / "run", "--attention", "--task", world / "task.toml", "--shots", 3),
        *("--out", world / "attention", "--json"),
    )
    facts = json.loads(shown)
    assert len(facts["share_by_demonstration"]) == 3
    assert sum(facts["share_by_demonstration"]) == pytest.approx(1)
    assert (world / "attention.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("compress", "--task", "T", "--out", "x.st"), "say what compresses"),
        (
            ("compress", "--distiller", "R", "--positions", 2, "--task", "T", "--out", "x.st"),
            "--positions is for --model M",
        ),
        (("train", "--method", "mend", "--out", "x"), "name a partition file"),
        (("train", "--method", "mend", "--alpha", 1, "--out", "x"), "--alpha has no meaning for"),
        (("train", "--method", "magic", "--out", "x"), "choose one of cd, pbft, mend"),
        (("export", "M", "--out", "x"), "give --task T"),
        (("inspect", "R", "--attention"), "say of which --task"),
        (("predict", "B", "text", "--context", "nowhere.st"), "no such context file"),
    ],
)
def test_wrong_use_is_explained(world: Path, command: tuple[object, ...], message: str) -> None:
    places = {"T": world / "task.toml", "M": world / "model", "B": world / "bundle"}
    _, error = edgecd(*(places.get(str(part), part) for part in command), code=2)
    assert message in " ".join(error.split())
