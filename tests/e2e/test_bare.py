"""The three commands as they are typed, in a folder with data and edgecd.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests import tiny
from tests.e2e.test_cli import edgecd

PROJECT = """
task = "task.toml"
teacher = "models/teacher"
student = "models/student"
[train]
shots = 4
transfer = 80
context_draws = 2
[export]
max_flips = 60
[bench]
limit = 20
latency_queries = 4
rounds = 1
draws = 1
few_shots = []
rivals = ["majority"]
prompt_runtimes = ["torch"]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user: data, a task, two models, and the project file."""
    for name, family in (("teacher", "qwen2"), ("student", "llama")):
        tokenizer = tiny.tiny_tokenizer()
        model = tiny.tiny_causal_lm(family, len(tokenizer))  # type: ignore[arg-type]
        tiny.save_model(model, tokenizer, tmp_path / "models" / name)
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(160)]
    tiny.write_jsonl(tmp_path / "train.jsonl", rows[:100])
    tiny.write_jsonl(tmp_path / "validation.jsonl", rows[100:])
    (tmp_path / "task.toml").write_text(tiny.TASK)
    (tmp_path / "edgecd.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_export_and_bench_need_no_option(here: Path) -> None:
    _, said = edgecd("train")
    line = (
        "edgecd.toml: task task.toml, teacher models/teacher, student models/student -> runs/pairs"
    )
    assert line in re.sub(r"\s+", " ", said)
    _, said = edgecd("export", "--int8")
    assert "runs/pairs (int8) -> bundles/pairs-int8" in re.sub(r"\s+", " ", said)
    shown, said = edgecd("bench")
    line = "bundles/pairs-int8 of runs/pairs, task task.toml -> reports/pairs"
    assert line in re.sub(r"\s+", " ", said)
    assert "report: reports/pairs/report.html" in shown
    report = json.loads((here / "reports/pairs/report.json").read_text())
    roles = {row["system"]: row["role"] for row in report["rows"]}
    assert roles["pairs-int8"] == "student" and "teacher-icl" in roles.values()
    assert report["asked"]["run"] == "runs/pairs"


def test_without_anything_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "`edgecd train` makes one" in edgecd("export", "--int8", code=2)[1]
    assert "`edgecd export --int8` makes one" in edgecd("bench", code=2)[1]
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    _, said = edgecd("train", env=home, code=2)
    said = re.sub(r"\s+", " ", said)
    assert "by default: task mnli, teacher facebook/opt-1.3b, student facebook/opt-125m" in said
    assert "give a local model folder" in said and "`edgecd demo`" in said
