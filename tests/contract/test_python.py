"""The Python interface: its names, what they cost to import, and the whole path through them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgecd
from tests import tiny


def test_every_name_is_there_and_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, edgecd\n"
        "heavy = {'numpy', 'torch', 'transformers', 'onnx', 'onnxruntime', 'tokenizers', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "edgecd.TrainConfig, edgecd.ExportConfig, edgecd.BenchConfig, edgecd.load_task\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stderr
    for name in edgecd.__all__:
        assert getattr(edgecd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edgecd.nothing  # noqa: B018
    assert (Path(edgecd.__file__).parent / "py.typed").exists()


def test_the_whole_path_in_python(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx_ir")
    tokenizer = tiny.tiny_tokenizer()
    for name, family in (("teacher", "qwen2"), ("student", "llama")):
        model = tiny.tiny_causal_lm(family, len(tokenizer))  # type: ignore[arg-type]
        tiny.save_model(model, tokenizer, tmp_path / name)
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(100)]
    tiny.write_jsonl(tmp_path / "train.jsonl", rows[:70])
    tiny.write_jsonl(tmp_path / "validation.jsonl", rows[70:])
    (tmp_path / "task.toml").write_text(tiny.TASK)

    task = edgecd.load_task(str(tmp_path / "task.toml"))
    assert isinstance(task, edgecd.Task) and task.labels == tuple(tiny.LABELS)
    said: list[str] = []
    parts: set[str] = set()
    config = edgecd.TrainConfig(
        task=task.source,
        teacher=str(tmp_path / "teacher"),
        student=str(tmp_path / "student"),
        shots=4,
        transfer=40,
        context_draws=2,
    )
    run = edgecd.train_student(
        config, tmp_path / "run", say=said.append, progress=lambda what, *_: parts.add(what)
    )
    assert run["status"] == "done" and run["answers"]["labels"].keys() == tiny.LABELS.keys()
    assert said and {"teacher scores", "training", "held-out examples"} <= parts
    with pytest.raises(edgecd.InputError, match="--force"):
        edgecd.train_student(config, tmp_path / "run")
    done = edgecd.export_bundle(tmp_path / "run", edgecd.ExportConfig(), tmp_path / "bundle")
    assert done["precision"] == "fp32"
    report = edgecd.bench_bundles(
        [tmp_path / "bundle"],
        edgecd.BenchConfig(
            task=task.source,
            run=tmp_path / "run",
            baselines=(),
            rivals=(),
            rounds=1,
            latency_queries=3,
            limit=10,
        ),
        tmp_path / "report",
    )
    (row,) = report["rows"]
    assert (row["system"], row["examples"]) == ("bundle", 10)
    assert (tmp_path / "report" / "report.html").exists()
    answer = edgecd.Predictor.load(tmp_path / "bundle").predict(rows[0])
    assert isinstance(answer, edgecd.Prediction) and answer.label in tiny.LABELS
