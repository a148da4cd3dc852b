"""A model is loaded whole, of safetensors, with no code of its own, and known by every byte."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgecd.errors import InputError
from edgecd.host import hashes
from edgecd.lm.checkpoint import load_checkpoint
from edgecd.lm.encoders import load_encoder
from edgecd.lm.models import find_model, load_language_model, load_model_config
from edgecd.lm.text_encoder import open_encoder
from edgecd.tasks.prompts import PromptTemplate
from tests import tiny
from tests.tiny_encoder_folders import encoder_folder

CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"


def model_folder(folder: Path, family: tiny.Family = "llama", **changes: Any) -> Path:
    tokenizer = tiny.tiny_tokenizer()
    return tiny.save_model(
        tiny.tiny_causal_lm(family, len(tokenizer), **changes), tokenizer, folder
    )


def classifier_folder(folder: Path, family: tiny.Family = "llama") -> Path:
    tokenizer = tiny.tiny_tokenizer()
    return tiny.save_model(tiny.tiny_classifier(family, len(tokenizer)), tokenizer, folder)


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def drop(folder: Path, names: list[str]) -> None:
    kept = {name: one for name, one in load_file(folder / WEIGHTS).items() if name not in names}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})


def configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def load(folder: Path) -> Any:
    return load_language_model(str(folder), CPU, torch.float32)


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt", "gpt2"])
def test_a_classifier_is_no_teacher(family: tiny.Family, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(lm_head|score)\.weight"):
        load(classifier_folder(tmp_path, family))


@pytest.mark.parametrize("family", ["qwen2", "opt", "gpt2"])
def test_a_tied_head_may_be_missing(family: tiny.Family, tmp_path: Path) -> None:
    folder = model_folder(tmp_path, family)
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    load(folder)


def test_a_shard_that_lacks_tensors_is_refused_with_their_names(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    names = [name for name in load_file(folder / WEIGHTS) if "layers.1.mlp" in name]
    drop(folder, names)
    assert len(names) == 3
    with pytest.raises(InputError, match=r"lack weights .*layers\.1\.mlp\.down_proj\.weight"):
        load(folder)


def test_a_layer_more_than_the_configuration_says_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    configure(folder, num_hidden_layers=1)
    with pytest.raises(InputError, match=r"does not use \(model\.layers\.1\..* and \d+ more\)"):
        load(folder)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    configure(folder, vocab_size=100)
    with pytest.raises(InputError):
        load(folder)


def test_a_damaged_file_of_weights_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-64])
    with pytest.raises(InputError, match="cannot load"):
        load(folder)


def test_a_checkpoint_that_lacks_its_head_is_refused(tmp_path: Path) -> None:
    folder = classifier_folder(tmp_path)
    drop(folder, ["score.weight"])
    with pytest.raises(InputError, match=r"lack weights .*score\.weight"):
        load_checkpoint(folder)


@pytest.mark.parametrize("load_it", [load, load_checkpoint])
def test_pickled_weights_are_refused_and_the_way_out_is_said(
    load_it: Callable[[Path], Any], tmp_path: Path
) -> None:
    folder = model_folder(tmp_path)
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"pytorch_model\.bin, a pickle.*from_pretrained"):
        load_it(folder)


def test_pickled_weights_beside_safetensors_are_not_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    load(folder)
    configure(folder, transformers_weights="pytorch_model.bin")
    with pytest.raises(InputError, match="not safetensors"):
        load(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_the_models_own_is_refused_by_name(file: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    path = folder / file
    own = {"auto_map": {"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
    (folder / "modeling_mine.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(InputError, match=r"AutoModelForCausalLM = modeling_mine\.MineForCausalLM"):
        load(folder)


def test_an_adapter_fetches_no_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "other/model"}')
    with pytest.raises(InputError, match="is an adapter"):
        load(folder)


# --- encoders -------------------------------------------------------------------------------


def encoder(folder: Path) -> Any:
    files = find_model(str(folder), CPU, torch.float32)
    return load_encoder(files, ["a", "b"], 0)


def test_an_encoder_may_come_with_the_head_of_its_pretraining(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path)

    def masked(tensors: dict[str, torch.Tensor]) -> None:
        tensors["cls.predictions.bias"] = torch.zeros(5)
        tensors["embeddings.position_ids"] = torch.zeros(1, 5)

    change(folder, masked)
    encoder(folder)
    open_encoder(str(folder), PromptTemplate("{a}", {"x": "1", "y": "2"}), 64, "cpu")


def test_an_encoder_with_layers_left_over_is_refused(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path)
    configure(folder, num_hidden_layers=1)
    with pytest.raises(InputError, match=r"does not use \(.*encoder\.layer\.1"):
        encoder(folder)
    with pytest.raises(InputError, match=r"does not use \(.*encoder\.layer\.1"):
        open_encoder(str(folder), PromptTemplate("{a}", {"x": "1", "y": "2"}), 64, "cpu")


def test_an_encoder_with_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path)
    configure(folder, vocab_size=50)
    with pytest.raises(InputError, match=r"another shape \(.*word_embeddings\.weight"):
        encoder(folder)


# --- identity -------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / hashes.KNOWN


def identity(folder: Path) -> str:
    return find_model(str(folder), CPU, torch.float32).identity


def test_a_models_identity_covers_every_byte(cache: Path, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    seen = {identity(folder)}
    content = (folder / WEIGHTS).read_bytes()
    for place in range(len(content) // 2, len(content), len(content) // 9):
        changed = bytearray(content)
        changed[place] ^= 1
        (folder / WEIGHTS).write_bytes(changed)
        seen.add(identity(folder))
    (folder / WEIGHTS).write_bytes(content)
    assert identity(folder) in seen
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text() + " ")
    seen.add(identity(folder))
    assert len(seen) == 7
    before = identity(folder)
    (folder / "README.md").write_text("words")
    assert identity(folder) == before


def test_a_file_is_read_once_until_it_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 2_000_000)
    os.utime(file, ns=(10**18, 10**18))
    first = hashes.file_hash(file)
    with monkeypatch.context() as unread:
        unread.setattr(hashes, "require", None)
        assert hashes.file_hash(file) == first
    file.write_bytes(b"b" * 2_000_000)
    os.utime(file, ns=(10**18 + 1, 10**18 + 1))
    assert hashes.file_hash(file) != first


def test_a_file_that_may_change_within_the_clocks_grain_is_read_again(
    cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 2_000_000)
    hashes.file_hash(file)
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["", "[1]", "not json", '{"x": 3}'])
def test_a_damaged_or_unwritable_cache_costs_time_alone(
    damage: str, cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 2_000_000)
    os.utime(file, ns=(10**18, 10**18))
    first = hashes.file_hash(file)
    cache.write_text(damage)
    assert hashes.file_hash(file) == first
    cache.unlink()
    cache.mkdir()
    assert hashes.file_hash(file) == first


def test_the_hub_is_named_by_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    snapshot = model_folder(tmp_path / "snapshots" / "0123abcd")
    monkeypatch.setattr("edgecd.lm.source.resolve_model", lambda name: str(snapshot))
    assert find_model("some/model", CPU, torch.float32).identity == "0123abcd"
    assert load_model_config("some/model").model_type == "llama"
