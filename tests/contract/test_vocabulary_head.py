"""PBFT over the whole vocabulary: its loss, what it trains, and that it folds like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edgecd.console import Reporter
from edgecd.errors import InputError
from edgecd.tasks.metrics import log_softmax
from edgecd.training.config import TrainConfig
from edgecd.training.distil import train
from edgecd.training.loop import vocabulary_loss
from tests import tiny

SILENT = Reporter(lambda line: None, lambda what, done, total: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    tokenizer = tiny.tiny_tokenizer(bos=True)
    tiny.save_model(tiny.tiny_causal_lm("opt", len(tokenizer)), tokenizer, root / "student")
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(60)]
    tiny.write_jsonl(root / "train.jsonl", rows[:40])
    tiny.write_jsonl(root / "validation.jsonl", rows[40:])
    (root / "task.toml").write_text(tiny.TASK)
    return root


def config(world, **changes):
    options = {"adapter": "full", "head": "vocabulary", "epochs": 1, "lr": 1e-3, **changes}
    return TrainConfig(
        task=str(world / "task.toml"),
        student=str(world / "student"),
        method="pbft",
        shots=6,
        dtype="float32",
        **options,
    )


def test_the_loss_is_that_of_each_prompt_alone():
    model = tiny.tiny_causal_lm("llama", 300)
    prompts = [[5, 9, 8], [7, 6, 5, 4, 3, 2], [11]]
    words = [17, 250, 17]
    by_hand = []
    for ids, word in zip(prompts, words, strict=True):
        with torch.no_grad():
            row = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        by_hand.append(-log_softmax(row[None])[0, word])
    inputs = torch.tensor([ids + [0] * (6 - len(ids)) for ids in prompts])
    mask = torch.tensor([[1] * len(ids) + [0] * (6 - len(ids)) for ids in prompts])
    logits = model(input_ids=inputs, attention_mask=mask).logits
    assert logits.shape == (3, 6, 300)
    loss = vocabulary_loss(logits, mask, torch.tensor(words))
    assert loss.item() == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_a_run_starts_from_that_loss_and_lowers_it(world, tmp_path):
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    train(config(world, epochs=20), tmp_path / "run", SILENT)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    losses = [line["loss"] for line in lines if "loss" in line]
    model = AutoModelForCausalLM.from_pretrained(world / "student")
    tokenizer = Tokenizer.from_file(str(tmp_path / "run" / "checkpoint" / "tokenizer.json"))
    by_hand = []
    kept = (tmp_path / "run" / "demonstrations.jsonl").open()
    for line in (line for line in kept if json.loads(line)["draw"] == 0):
        shot = json.loads(line)
        ids = tokenizer.encode(tiny.TEMPLATE.format(**shot["fields"])).ids
        with torch.no_grad():
            row = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        word = tokenizer.token_to_id(tiny.LABELS[shot["label"]].replace(" ", "Ġ"))
        by_hand.append(-log_softmax(row[None])[0, word])
    assert losses[0] == pytest.approx(np.mean(by_hand), rel=1e-4)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("adapter", ["full", "lora", "bitfit"])
def test_only_the_adapters_parameters_train(world, tmp_path, adapter):
    from safetensors.numpy import load_file

    over = {}
    for head in ("labels", "vocabulary"):
        run = train(config(world, adapter=adapter, head=head, epochs=5), tmp_path / head, SILENT)
        over[head] = run["trainable_parameters"]
    before = load_file(world / "student" / "model.safetensors")
    after = load_file(tmp_path / "vocabulary" / "checkpoint" / "model.safetensors")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(world / "student" / "tokenizer.json"))
    rows = [tokenizer.token_to_id(word.replace(" ", "Ġ")) for word in tiny.LABELS.values()]
    head = before["model.decoder.embed_tokens.weight"][rows]  # tied
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    matrices = {name for name in before if name.endswith(("proj.weight", "fc1.weight"))}
    if adapter == "full":
        assert moved > matrices and not np.array_equal(after["score.weight"], head)
        assert np.array_equal(
            after["score.weight"], after["model.decoder.embed_tokens.weight"][rows]
        )
        assert over["vocabulary"] == sum(values.size for values in before.values())
    else:
        assert np.array_equal(after["score.weight"], head), "the output head was trained"
        assert over["vocabulary"] == over["labels"]
        # Keys' biases have no gradient: softmax takes off what all positions share.
        expected = matrices if adapter == "lora" else {n for n in before if n.endswith("bias")}
        assert moved <= expected | {n for n in before if n.endswith("fc2.weight")}
        assert len(moved) > 0.7 * len(expected)


def test_the_reference_is_for_pbft_only():
    with pytest.raises(InputError, match="--head vocabulary is how PBFT .* --method is cd"):
        TrainConfig(head="vocabulary")
    with pytest.raises(InputError, match="--head all"):
        TrainConfig(head="all")
