"""`train --layers N`: a student of fewer layers is an ordinary checkpoint, and exports as one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx_ir")

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from edgecd.console import Reporter
from edgecd.errors import InputError
from edgecd.export.convert import export_run
from edgecd.lm.models import load_language_model
from edgecd.runtime.predictor import Predictor
from edgecd.training.config import TrainConfig, settled
from edgecd.training.distil import train
from edgecd.training.layers import keep_layers, kept_layers
from tests import tiny
from tests.tiny_encoder_folders import encoder_folder

SILENT = Reporter(lambda line: None, lambda what, done, total: None)
DEEP = 6
TYPES = ["sliding_attention", "full_attention"] * (DEEP // 2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    tokenizer = tiny.tiny_tokenizer()
    tiny.save_model(tiny.tiny_causal_lm("qwen2", len(tokenizer)), tokenizer, root / "teacher")
    rows = [{"id": r["id"], **r["fields"], "label": r["label"]} for r in tiny.examples(80)]
    tiny.write_jsonl(root / "train.jsonl", rows[:56])
    tiny.write_jsonl(root / "validation.jsonl", rows[56:])
    (root / "task.toml").write_text(tiny.TASK)
    return root


def deep(folder: Path, family: Any) -> Path:
    """A language model of six layers; Gemma's see a window and everything in turn."""
    tokenizer = tiny.tiny_tokenizer(bos=family == "opt")
    layers = {"n_layer" if family == "gpt2" else "num_hidden_layers": DEEP}
    changes: dict[str, Any] = {"layer_types": TYPES} if family == "gemma3_text" else {}
    model = tiny.tiny_causal_lm(family, len(tokenizer), **layers, **changes)
    return tiny.save_model(model, tokenizer, folder)


def config(world: Path, student: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(
        task=str(world / "task.toml"),
        teacher=str(world / "teacher"),
        student=str(student),
        shots=4,
        transfer=24,
        max_length=64,
        dtype="float32",
        scores=str(world / "scores"),
    )
    return replace(base, **changes)


def test_which_layers_stay_is_told_by_two_numbers() -> None:
    for total in (1, 2, 12, 24, 30):
        for keep in range(1, total + 1):
            kept = kept_layers(total, keep)
            assert len(kept) == keep and sorted(set(kept)) == list(kept)
            assert kept[0] == 0 and kept[-1] < total
        assert kept_layers(total, total) == tuple(range(total))


@pytest.mark.parametrize("family", [*tiny.FUSED, tiny.TRACED])
def test_a_model_of_fewer_layers_is_what_its_files_say(tmp_path: Path, family: Any) -> None:
    whole = load_language_model(
        str(deep(tmp_path / "whole", family)), torch.device("cpu"), torch.float32
    )
    small = keep_layers(whole, 3)
    small.model.save_pretrained(tmp_path / "small")
    known = AutoConfig.from_pretrained(tmp_path / "small")
    kept = kept_layers(DEEP, 3)
    assert known.num_hidden_layers == 3 and whole.model.config.num_hidden_layers == DEEP
    if family == "gemma3_text":
        assert known.layer_types == [TYPES[place] for place in kept]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()
    ids = torch.arange(2, 40)[None]
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, small.model(ids).logits)
    layers: Any = tiny_layers(small.model)
    originals: Any = tiny_layers(whole.model)
    for layer, place in zip(layers, kept, strict=True):
        theirs = originals[place].state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in layer.state_dict().items())


def tiny_layers(model: Any) -> Any:
    body = model.base_model
    return getattr(getattr(body, "decoder", body), "h" if hasattr(body, "h") else "layers")


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt", "gpt2"])
def test_a_student_of_fewer_layers_is_trained_loads_and_exports(
    world: Path, tmp_path: Path, family: Any
) -> None:
    student = deep(tmp_path / "student", family)
    run = train(config(world, student, layers=3), tmp_path / "run", SILENT)
    assert (run["layers"], run["adapter"], run["lr"], run["epochs"]) == (3, "full", 1e-4, 3)
    checkpoint = tmp_path / "run" / "checkpoint"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    assert len(tiny_layers(model)) == model.config.num_hidden_layers == 3
    done = export_run(tmp_path / "run", tmp_path / "bundle")
    assert done["exporter"] == "fused"
    predictor = Predictor.load(tmp_path / "bundle", threads=1)
    rows = [dict(row["fields"]) for row in tiny.examples(12, seed=5)]
    found = predictor.logits(rows)
    with torch.inference_mode():
        expected = [model(torch.tensor([one.ids])).logits[0] for one in predictor.encode(rows)]
    wanted = torch.stack(expected).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))
    assert predictor.manifest.provenance["layers"] == 3


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_an_encoder_has_fewer_layers_too(world: Path, tmp_path: Path, family: str) -> None:
    name = "n_layers" if family == "distilbert" else "num_hidden_layers"
    student = encoder_folder(tmp_path / "encoder", family, **{name: 4})
    run = train(config(world, student, layers=2, epochs=1), tmp_path / "run", SILENT)
    assert run["adapter"] == "full"
    checkpoint = tmp_path / "run" / "checkpoint"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    assert model.config.num_hidden_layers == 2
    names = {name for name in model.state_dict() if ".2." in name or ".3." in name}
    assert not names
    export_run(tmp_path / "run", tmp_path / "bundle")


def test_all_layers_are_the_student_as_ever(world: Path, tmp_path: Path) -> None:
    student = deep(tmp_path / "student", "llama")
    whole = train(config(world, student), tmp_path / "whole", SILENT)
    same = train(config(world, student, layers=DEEP), tmp_path / "same", SILENT)
    for run in (whole, same):
        assert (run["adapter"], run["lr"], run["epochs"]) == ("lora", 1e-3, 1)
    assert whole["metrics"] == same["metrics"] and whole["parameters"] == same["parameters"]


def test_more_layers_than_there_are_is_refused_before_scoring(world: Path, tmp_path: Path) -> None:
    student = deep(tmp_path / "student", "llama")
    with pytest.raises(InputError, match=rf"--layers 7: .*student has {DEEP}"):
        train(config(world, student, layers=7), tmp_path / "run", SILENT)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="--layers 0: must be"):
        TrainConfig(layers=0)


def test_what_was_asked_for_wins_over_the_choice_for_fewer_layers() -> None:
    asked = settled(TrainConfig(layers=3, adapter="lora", lr=5e-4), None, loses_layers=True)
    assert (asked.adapter, asked.lr) == ("lora", 5e-4)
    assert json.dumps(asked.layers) == "3"
