"""`train` on tiny models: every method and adapter, resuming, refusing, recording."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgecd.console import Reporter
from edgecd.errors import InputError
from edgecd.tasks.task import load_task
from edgecd.training.config import TrainConfig
from edgecd.training.distil import train
from tests import tiny

SILENT = Reporter(lambda line: None, lambda what, done, total: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two tiny models that have different tokenizers, and a small task."""
    root = tmp_path_factory.mktemp("world")
    for name, family, bos in (("teacher", "qwen2", False), ("student", "opt", True)):
        tokenizer = tiny.tiny_tokenizer(bos=bos)
        tiny.save_model(tiny.tiny_causal_lm(family, len(tokenizer)), tokenizer, root / name)
    tokenizer = tiny.tiny_tokenizer()
    tiny.save_model(tiny.tiny_causal_lm("llama", len(tokenizer)), tokenizer, root / "llama")
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(160)]
    tiny.write_jsonl(root / "train.jsonl", rows[:120])
    tiny.write_jsonl(root / "validation.jsonl", rows[120:])
    (root / "task.toml").write_text(tiny.TASK)
    return root


def config(world, **changes):
    base = TrainConfig(
        task=str(world / "task.toml"),
        teacher=str(world / "teacher"),
        student=str(world / "student"),
        shots=4,
        transfer=64,
        batch_size=8,
        epochs=2,
        lr=1e-3,
        dtype="float32",
    )
    return replace(base, **changes)


def weights(run):
    from safetensors.numpy import load_file

    return load_file(run / "checkpoint" / "model.safetensors")


@pytest.mark.parametrize(
    ("method", "adapter"),
    [("cd", "lora"), ("cd", "bitfit"), ("cd", "full"), ("pbft", "lora"), ("pbft", "full")],
)
def test_every_method_and_adapter_learns(world, tmp_path, method, adapter):
    run = train(config(world, method=method, adapter=adapter, epochs=6), tmp_path / "run", SILENT)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    assert run["peak_rss_bytes"] > 1e8 and run["peak_gpu_bytes"] is None
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == run
    assert ("agreement" in run["metrics"]) == (method == "cd")
    assert ("teacher" in run["licences"]) == (method == "cd")
    assert (tmp_path / "run" / "adapter").exists() == (adapter == "lora")
    answers = run["answers"]
    assert np.sum(answers["confusions"]) == run["metrics"]["labelled"] == 40
    assert sum(one["answered"] for one in answers["labels"].values()) == 40
    assert [one["shown"] for one in answers["labels"].values()] == [2, 2]
    assert run["metrics"]["untrained_examples"] == 40
    assert 0.5 <= run["metrics"]["majority_accuracy"] < 1


def test_student_moves_to_its_teacher(world, tmp_path):
    run = train(config(world, adapter="full", epochs=15, patience=99), tmp_path / "run", SILENT)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").open().readline())
    assert run["metrics"]["heldout_kl"] < first["loss"]


def test_same_seed_same_weights_other_seed_others(world, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(world, seed=seed, epochs=1), tmp_path / name, SILENT)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert not all(np.array_equal(a[key], c[key]) for key in a)


@pytest.mark.parametrize("where", ["teacher scores", "training"])
def test_an_interrupted_run_resumes_to_the_same_weights(world, tmp_path, where):
    asked = config(world, context_draws=2, draws_per_text=2)

    def interrupt(what, done, total):
        if what == where and done >= 0.7 * total:
            raise KeyboardInterrupt

    train(asked, tmp_path / "whole", SILENT)
    with pytest.raises(KeyboardInterrupt):
        train(asked, tmp_path / "cut", Reporter(lambda line: None, interrupt))
    assert not (tmp_path / "cut" / "run.json").exists()
    with pytest.raises(InputError, match="already exists"):
        train(asked, tmp_path / "cut", SILENT)
    with pytest.raises(InputError, match="other options"):
        train(replace(asked, lr=1e-4), tmp_path / "cut", SILENT, resume=True)
    train(asked, tmp_path / "cut", SILENT, resume=True)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for key in whole:
        np.testing.assert_allclose(cut[key], whole[key], rtol=0, atol=2e-6)
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").open()]
    assert sorted(set(steps[:-1])) == steps[:-1], "a step is logged twice"


@pytest.mark.parametrize("student", ["student", "llama"])  # with a start token of its own, without
def test_prompts_of_the_student_begin_with_a_start_token_and_a_newline(world, tmp_path, student):
    from tokenizers import Tokenizer

    train(config(world, student=str(world / student), epochs=1), tmp_path / "run", SILENT)
    saved = Tokenizer.from_file(str(tmp_path / "run" / "checkpoint" / "tokenizer.json"))
    assert saved.encode("x").tokens == ["</s>", "Ċ", "x"]


def test_no_example_has_two_roles(world, tmp_path):
    run = train(config(world, context_draws=2, epochs=1), tmp_path / "run", SILENT)
    shots = [json.loads(line) for line in (tmp_path / "run" / "demonstrations.jsonl").open()]
    assert [row["draw"] for row in shots] == [0] * 4 + [1] * 2
    assert run["examples"] == {"transfer": 64, "monitor": 14, "heldout": 40}


def test_the_contexts_show_the_k_labels_and_no_others(world, tmp_path):
    asked = config(world, shots=6, context_shots=4, context_draws=5, epochs=1)
    train(asked, tmp_path / "run", SILENT)
    shown = [json.loads(line) for line in (tmp_path / "run" / "demonstrations.jsonl").open()]
    assert len({row["id"] for row in shown}) == 6
    for draw in range(5):
        own = [row for row in shown if row["draw"] == draw]
        assert [row["label"] for row in own].count("entailment") == 2 and len(own) == 4
    times = [[row["id"] for row in shown].count(name) for name in {row["id"] for row in shown}]
    assert max(times) - min(times) <= 1


def test_no_label_beyond_the_k_is_used(world, tmp_path, monkeypatch):
    """With every other label of the train split hidden the weights are the same."""
    from edgecd.training import examples

    asked = config(world, context_draws=3, draws_per_text=2, epochs=1, alpha=0.5)
    train(asked, tmp_path / "all", SILENT)
    labelled = examples.draw_demonstrations(
        examples.read_split(load_task(asked.task), "train").examples, tuple(tiny.LABELS), 4, 0
    )
    known = {one.id for one in labelled}
    rows = [json.loads(line) for line in (world / "train.jsonl").open()]
    for row in rows:
        if row["id"] not in known:
            del row["label"]
    tiny.write_jsonl(tmp_path / "train.jsonl", rows)
    held = [json.loads(line) for line in (world / "validation.jsonl").open()]
    tiny.write_jsonl(tmp_path / "validation.jsonl", [{**row, "label": None} for row in held])
    (tmp_path / "task.toml").write_text(tiny.TASK)
    monkeypatch.setattr(examples, "draw_demonstrations", lambda *args: labelled)
    train(replace(asked, task=str(tmp_path / "task.toml")), tmp_path / "few", SILENT)
    one, other = weights(tmp_path / "all"), weights(tmp_path / "few")
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_unlabelled_texts_of_their_own_file_join_the_transfer_set(world, tmp_path):
    more = [{"id": r["id"], **r["fields"], "label": "?"} for r in tiny.examples(30, seed=9)]
    tiny.write_jsonl(tmp_path / "more.jsonl", more)
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text((world / f"{name}.jsonl").read_text())
    (tmp_path / "task.toml").write_text(tiny.TASK + 'unlabelled = "more.jsonl"\n')
    asked = config(world, task=str(tmp_path / "task.toml"), epochs=1, transfer=1000)
    run = train(asked, tmp_path / "run", SILENT)
    assert sum(run["examples"][role] for role in ("transfer", "monitor")) == 120 - 4 + 30


def test_transfer_inputs_need_no_labels(world, tmp_path):
    rows = [json.loads(line) for line in (world / "train.jsonl").open()]
    for row in rows[20:]:
        del row["label"]
    held = [json.loads(line) for line in (world / "validation.jsonl").open()]
    for row in held:
        row["label"] = None
    tiny.write_jsonl(tmp_path / "train.jsonl", rows)
    tiny.write_jsonl(tmp_path / "validation.jsonl", held)
    (tmp_path / "task.toml").write_text(tiny.TASK)
    asked = config(world, task=str(tmp_path / "task.toml"), epochs=1)
    run = train(asked, tmp_path / "run", SILENT)
    assert "agreement" in run["metrics"] and "student_accuracy" not in run["metrics"]


def test_calibration_changes_the_targets_and_scores_are_shared(world, tmp_path):
    shared = str(tmp_path / "scores")
    asked = config(world, epochs=1, context_draws=1, scores=shared)
    one = train(asked, tmp_path / "a", SILENT)
    (file,) = (tmp_path / "scores").glob("*.jsonl")
    before = file.read_bytes()
    two = train(replace(asked, calibrate=False), tmp_path / "b", SILENT)
    assert file.read_bytes() == before, "the second student paid for scores again"
    assert one["fingerprints"]["scores"] == two["fingerprints"]["scores"]
    assert one["metrics"]["heldout_kl"] != two["metrics"]["heldout_kl"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "llama", "adapter": "bitfit"}, "use --adapter lora"),
        ({"shots": 200}, "lower --shots"),
        ({"teacher": "nowhere/at/all"}, "no such folder"),
        ({"task": "nowhere.toml"}, "no such file"),
        ({"device": "cuda"}, "no CUDA device|use --device cpu"),
        ({"pattern": "unheard-of"}, "unknown pattern"),
        ({"class_shares": "0.2,0.3,0.5"}, "a share above 0 for each of the 2 labels"),
    ],
)
def test_bad_requests_leave_no_folder_behind(world, tmp_path, changes, message):
    import torch

    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    if changes.get("student"):
        changes = {**changes, "student": str(world / changes["student"])}
    with pytest.raises(InputError, match=message):
        train(config(world, **changes), tmp_path / "run", SILENT)
    assert not (tmp_path / "run").exists()
