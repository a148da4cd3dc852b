"""Whether a model's files are what is to be loaded: no pickle, no code, no weight missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from edgecd.errors import InputError
from edgecd.files import fingerprint, read_json
from edgecd.host.hashes import file_hash

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
# What a model is read from, besides a file for its text and what people read.
_LOADED = (".json", ".safetensors", ".model", ".txt")
# Weights that are computed: old files have them, and nobody reads them.
_COMPUTED = ("inv_freq", "masked_bias", "position_ids", ".attn.bias", ".attention.bias")
_SHOWN = 3


def refuse_folder(name: str, folder: Path) -> None:
    """Raise InputError for a model folder that would run code, or has no safetensors.

    Names the files, and how to convert them.
    """
    for file in ("config.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            refuse_code(name, read_json(folder / file), file)
    refuse_adapter(name, str(folder))
    has_weights = any((folder / file).is_file() for file in (_WEIGHTS, _INDEX))
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    if not has_weights and pickled:
        raise InputError(
            f"{name} has its weights in {pickled[0]}, a pickle, which can run code when it is read:"
            f" convert it where you trust it, once, with {conversion(name)}"
        )


def refuse_code(name: str, said: Any, file: str = "config.json") -> None:
    """Raise InputError for a configuration that names code of its own, or weights of another kind.

    edgecd runs no code of a model's.
    """
    if not isinstance(said, Mapping):
        raise InputError(f"{name}: {file} is not a configuration")
    if own := said.get("auto_map"):
        parts = own.items() if isinstance(own, Mapping) else [("", own)]
        listed = ", ".join(f"{kind} = {code}" for kind, code in parts)
        raise InputError(
            f"{name} wants code of its own to be run ({file}: auto_map: {listed[:200]}), which "
            "edgecd never does: take a model of a family that transformers has"
        )
    weights = said.get("transformers_weights")
    if weights is not None and ".safetensors" not in str(weights):
        raise InputError(
            f"{name} has its weights in {weights}, which is not safetensors: convert it where you "
            f"trust it, once, with {conversion(name)}"
        )


def refuse_adapter(name: str, source: str) -> None:
    """Raise InputError for an adapter, which would fetch the model that it names."""
    if find_adapter_config_file(source) is not None:
        raise InputError(
            f"{name} is an adapter (it has an adapter_config.json), not a whole model: merge it "
            "into its model (peft: merge_and_unload), save that without the adapter's files, and "
            "give that folder"
        )


def nothing(weight: str) -> bool:
    """Of a model that is loaded whole, no weight may differ."""
    del weight
    return False


def of_head(model: PreTrainedModel) -> Callable[[str], bool]:
    """Whether a weight belongs to a head, by its name: to no part of the model's body.

    A pooler is of the head, too: what is asked for a text's label may have another one, or none.
    """
    body = model.base_model
    names = {part for part, _ in body.named_children()} - {"pooler"}
    prefix = f"{model.base_model_prefix}."
    return lambda weight: weight.removeprefix(prefix).split(".")[0] not in names


def refuse_lost(
    name: str, info: Mapping[str, Collection[Any]], may_differ: Callable[[str], bool] = nothing
) -> None:
    """Raise InputError, naming weights, where a model's files and the model do not fit together.

    `info` is what transformers says of loading them; it does not count a weight as missing that is
    tied to another one. Weights that `may_differ` may be missing, of another shape, or left over.
    """
    odd = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
    missing = {*info["missing_keys"], *odd}
    lost = sorted(weight for weight in missing if not may_differ(weight))
    if lost:
        raise InputError(
            f"{name}: its files lack weights of the model, or have them in another shape "
            f"({_some(lost)}): get the whole model again, or one of the kind that is asked for"
        )
    left = sorted(
        weight
        for weight in info["unexpected_keys"]
        if not weight.endswith(_COMPUTED) and not may_differ(weight)
    )
    if left:
        raise InputError(
            f"{name}: its files have weights that the model does not use ({_some(left)}), so it "
            "would not answer as it was trained to: give a model of the kind that is asked for, "
            "whole and merged"
        )


def folder_identity(folder: Path) -> str:
    """A fingerprint of every byte that a model folder's model and tokenizer are read from."""
    files = sorted(file for file in folder.iterdir() if file.suffix in _LOADED and file.is_file())
    return fingerprint([(file.name, file_hash(file)) for file in files])[:16]


def _some(weights: Iterable[str]) -> str:
    named = list(weights)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(named[:_SHOWN])}{more}"


def conversion(name: str) -> str:
    """The command that writes a model's pickled weights as safetensors, into another folder."""
    out = f"{Path(name).name}-safe"
    return (
        'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
        f"[K.from_pretrained('{name}').save_pretrained('{out}') for K in (M, T)]\" "
        "(AutoModel for an encoder)"
    )
