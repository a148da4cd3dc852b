"""What a run says that it cost: memory and seconds by phase, over sessions; no teacher for free."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from edgecd.console import Reporter
from edgecd.host.memory import peak_rss_bytes, reset_peak_rss, rss_bytes
from edgecd.lm import models
from edgecd.training import account
from edgecd.training.config import TrainConfig
from edgecd.training.distil import train
from tests import tiny

SILENT = Reporter(lambda line: None, lambda what, done, total: None)
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    for name, family in (("teacher", "qwen2"), ("student", "llama")):
        tokenizer = tiny.tiny_tokenizer()
        tiny.save_model(tiny.tiny_causal_lm(family, len(tokenizer)), tokenizer, root / name)
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(100)]
    tiny.write_jsonl(root / "train.jsonl", rows[:80])
    tiny.write_jsonl(root / "validation.jsonl", rows[80:])
    (root / "task.toml").write_text(tiny.TASK)
    return root


@pytest.fixture
def asked(world, tmp_path):
    return TrainConfig(
        task=str(world / "task.toml"),
        teacher=str(world / "teacher"),
        student=str(world / "student"),
        shots=2,
        transfer=32,
        heldout=8,
        epochs=2,
        dtype="float32",
        scores=str(tmp_path / "scores"),
    )


@pytest.fixture
def loaded(monkeypatch):
    """The names of the models whose weights are loaded."""
    names = []
    load = models.ModelFiles.load

    def spy(self):
        names.append(self.name.rsplit("/", 1)[-1])
        return load(self)

    monkeypatch.setattr(models.ModelFiles, "load", spy)
    return names


@linux
def test_a_peak_can_be_forgotten():
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    high = peak_rss_bytes()
    del ballast
    assert reset_peak_rss()
    assert peak_rss_bytes() < high - 200_000_000
    assert abs(peak_rss_bytes() - (rss_bytes() or 0)) < 50_000_000


def test_the_teacher_is_loaded_only_when_scores_are_missing(asked, tmp_path, loaded):
    first = train(asked, tmp_path / "first", SILENT)
    assert loaded == ["teacher", "student"]
    assert first["timings_s"]["scoring"] > 0
    loaded.clear()
    second = train(asked, tmp_path / "second", SILENT)
    assert loaded == ["student"]
    assert second["fingerprints"] == first["fingerprints"]
    assert second["metrics"] == first["metrics"]
    assert second["timings_s"]["scoring"] == 0
    assert second["memory"]["scoring_peak_rss_bytes"] is None
    loaded.clear()
    train(replace(asked, transfer=40), tmp_path / "third", SILENT)
    assert loaded == ["teacher", "student"], "some scores were missing"


@linux
def test_memory_is_told_by_phase(asked, tmp_path):
    memory = train(asked, tmp_path / "run", SILENT)["memory"]
    assert memory["scoring_peak_rss_bytes"] > 1e8
    assert memory["training_peak_rss_bytes"] >= 0.95 * memory["loaded_rss_bytes"] > 1e8
    assert memory["training_peak_gpu_bytes"] is None


def test_what_was_spent_before_an_interrupt_counts(asked, tmp_path, monkeypatch):
    peaks = iter([5_000, 9_000_000_000])
    clock = {"now": 100.0}
    monkeypatch.setattr(account, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(account.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(account, "peak_rss_bytes", lambda: next(peaks, 1_000))

    def slow_then_interrupted(what, done, total):
        clock["now"] += 1000.0  # a step that takes this long
        if what == "training" and done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, tmp_path / "run", Reporter(lambda line: None, slow_then_interrupted))
    kept = json.loads((tmp_path / "run" / "state" / "account.json").read_text())["phases"]
    assert kept["scoring"]["seconds"] >= 1000 and kept["training"]["seconds"] == 3000
    clock["now"] = 0.0  # another session, another clock
    run = train(asked, tmp_path / "run", SILENT, resume=True)
    assert run["timings_s"]["training"] == 3000
    assert run["timings_s"]["scoring"] == kept["scoring"]["seconds"]
    assert run["timings_s"]["total"] >= 4000
    assert run["peak_rss_bytes"] == 9_000_000_000, "the first session's peak is forgotten"
    assert not (tmp_path / "run" / "state").exists()


def test_a_run_goes_on_although_an_option_was_added_since(asked, tmp_path):
    def interrupt(what, done, total):
        if what == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, tmp_path / "run", Reporter(lambda line: None, interrupt))
    path = tmp_path / "run" / "config.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("head")))
    assert train(asked, tmp_path / "run", SILENT, resume=True)["status"] == "done"
