"""An encoder as the student: it reads texts or pairs, learns from a prompted teacher, and loads."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

from edgecd.console import Reporter
from edgecd.errors import InputError
from edgecd.lm.checkpoint import open_checkpoint
from edgecd.tasks.encoding import encode_prompt
from edgecd.tasks.task import load_task
from edgecd.training.config import TrainConfig
from edgecd.training.distil import train
from tests import tiny
from tests.tiny_encoder_folders import encoder_folder, wordpiece

SILENT = Reporter(lambda line: None, lambda what, done, total: None)
FAMILIES = ("bert", "distilbert", "roberta", "deberta-v2", "modernbert", "electra")
TEXT_TASK = """
name = "topics"
template = "Text: {text}\\nTopic:"
labels = { entailment = " True", contradiction = " False" }

[data]
train = "train.jsonl"
validation = "validation.jsonl"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    tokenizer = tiny.tiny_tokenizer()
    tiny.save_model(tiny.tiny_causal_lm("qwen2", len(tokenizer)), tokenizer, root / "teacher")
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(120)]
    for folder, text in (("pairs", tiny.TASK), ("texts", TEXT_TASK)):
        (root / folder).mkdir()
        given = [{**row, "text": row["premise"]} for row in rows]
        tiny.write_jsonl(root / folder / "train.jsonl", given[:90])
        tiny.write_jsonl(root / folder / "validation.jsonl", given[90:])
        (root / folder / "task.toml").write_text(text)
    return root


def config(world, student, task="pairs", **changes):
    base = TrainConfig(
        task=str(world / task / "task.toml"),
        teacher=str(world / "teacher"),
        student=str(student),
        shots=4,
        transfer=48,
        epochs=2,
        max_length=64,
        dtype="float32",
        scores=str(world / "scores"),
    )
    return replace(base, **changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_pipeline_gives_the_same_logits(world, tmp_path, family):
    student = encoder_folder(tmp_path / "encoder", family)
    asked = config(world, student, epochs=25, lr=2e-3, patience=99)
    run = train(asked, tmp_path / "run", SILENT)
    assert run["adapter"] == "full" and run["task"]["form"] == "pair"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])

    folder = tmp_path / "run" / "checkpoint"
    task = load_task(asked.task)
    answerer = open_checkpoint(folder, task.template, 64, torch.device("cpu"))
    rows = [row["fields"] for row in tiny.examples(12, seed=5)]
    ours = answerer.logits(rows)
    classify = pipeline(
        "text-classification", model=str(folder), tokenizer=str(folder), function_to_apply="none"
    )
    for fields, expected in zip(rows, ours, strict=True):
        pair = {"text": fields["premise"], "text_pair": fields["hypothesis"]}
        found = {one["label"]: one["score"] for one in classify(pair, top_k=None)}
        np.testing.assert_allclose([found[name] for name in answerer.labels], expected, atol=1e-4)


@pytest.mark.parametrize("adapter", ["lora", "bitfit"])
def test_adapters_train_less_and_always_the_new_head(world, tmp_path, adapter):
    student = encoder_folder(tmp_path / "encoder")
    run = train(config(world, student, adapter=adapter, lora_rank=2), tmp_path / "run", SILENT)
    assert 0 < run["trainable_parameters"] < 0.5 * run["parameters"]
    one, other = (
        AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
        for folder in (tmp_path / "run" / "checkpoint", student)
    )
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert torch.equal(
        one["bert.embeddings.word_embeddings.weight"],
        other["bert.embeddings.word_embeddings.weight"],
    )


def test_one_field_is_read_as_a_text(world, tmp_path):
    student = encoder_folder(tmp_path / "encoder")
    run = train(config(world, student, task="texts"), tmp_path / "run", SILENT)
    assert run["task"]["form"] == "text"
    tokenizer = Tokenizer.from_file(str(tmp_path / "run" / "checkpoint" / "tokenizer.json"))
    template = load_task(config(world, student, task="texts").task).template.without_pattern
    encoded = encode_prompt(tokenizer, template, {"text": tiny.sentence(3)}, 64)
    tokens = [tokenizer.id_to_token(number) for number in encoded.ids]
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[SEP]") == 1


def test_a_pair_is_told_apart_and_shortened_at_its_longest_field():
    tokenizer = wordpiece().backend_tokenizer
    template = replace(load_task("mnli").template).without_pattern
    short = encode_prompt(tokenizer, template, {"premise": "a b", "hypothesis": "c"}, 64)
    assert not short.shortened and short.type_ids is not None
    assert len(short.type_ids) == len(short.ids) and set(short.type_ids) == {0, 1}
    long = {"premise": " ".join([tiny.sentence(1)] * 20), "hypothesis": tiny.sentence(2, words=3)}
    cut = encode_prompt(tokenizer, template, long, 40)
    assert cut.shortened and len(cut.ids) <= 40
    whole = encode_prompt(tokenizer, template, {**long, "premise": "a"}, 64)
    assert cut.type_ids.count(1) == whole.type_ids.count(1), "the short field stays whole"


def test_a_special_token_in_a_text_is_text():
    tokenizer = wordpiece().backend_tokenizer
    template = load_task("tickets").template.without_pattern
    ids = encode_prompt(tokenizer, template, {"text": "the [SEP] river [MASK]"}, 64).ids
    assert ids.count(3) == 1 and 4 not in ids


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("t5", "encoder-decoder"),
        ("mamba", "no text classifier for"),
        ("mixtral", "is a mixture of experts"),
        ("jamba", "is a mixture of experts"),
        ("zamba2", "has layers that are no attention"),
    ],
)
def test_what_can_be_no_student_is_refused_by_its_architecture(world, tmp_path, family, message):
    from transformers import AutoConfig

    sizes = {"d_model": 32, "num_layers": 2} if family == "t5" else {"hidden_size": 32}
    AutoConfig.for_model(family, **sizes).save_pretrained(tmp_path / "odd")
    with pytest.raises(InputError, match=message):
        train(config(world, tmp_path / "odd"), tmp_path / "run", SILENT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("family", "message"), [("phi", "a bias"), ("gemma2", "final_logit_softcapping = 30")]
)
def test_a_head_that_is_more_than_a_matrix_is_refused_before_scoring(
    world, tmp_path, family, message
):
    from transformers import AutoConfig

    tokenizer = tiny.tiny_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": len(tokenizer)}
    AutoConfig.for_model(family, **sizes).save_pretrained(tmp_path / "odd")
    tokenizer.save_pretrained(tmp_path / "odd")
    with pytest.raises(InputError, match=f"more than a matrix .*{message}"):
        train(config(world, tmp_path / "odd"), tmp_path / "run", SILENT)
    assert not (tmp_path / "run").exists()


def test_inputs_longer_than_the_encoder_reads_are_refused_before_scoring(world, tmp_path):
    student = encoder_folder(tmp_path / "encoder")
    with pytest.raises(InputError, match="reads 130 tokens at most"):
        train(config(world, student, max_length=256), tmp_path / "run", SILENT)


def test_missing_weights_of_the_encoder_are_refused(world, tmp_path):
    from safetensors.torch import load_file, save_file

    student = encoder_folder(tmp_path / "encoder")
    weights = load_file(student / "model.safetensors")
    gone = next(name for name in weights if "layer.1.attention" in name)
    del weights[gone]
    save_file(weights, student / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack weights of the model"):
        train(config(world, student), tmp_path / "run", SILENT)
