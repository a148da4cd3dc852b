"""Where a model is loaded from, and what it is known by."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.utils import cached_file

from edgecd.errors import EdgecdError, InputError, first_line
from edgecd.formats.manifest import TOKENIZER
from edgecd.formats.tokenizerfile import read_tokenizer
from edgecd.host.hashes import file_hash
from edgecd.host.hub import resolve_model
from edgecd.lm.weights import (
    conversion,
    folder_identity,
    refuse_adapter,
    refuse_code,
    refuse_folder,
)

_QUIETLY = dict.fromkeys(
    ("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"), False
)


def find_source(name: str) -> tuple[str, dict[str, Any]]:
    """Where a model is loaded from, and with which options: a folder, a hub id or a `.gguf` file.

    Raises InputError when it is not there, or would bring code, pickles or another model.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"{name}: no such file")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{name}: not a model folder (it has no config.json)")
        refuse_folder(name, path)
        return str(path), {}
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise InputError(f"{name}: no such folder")
    found = resolve_model(name)
    if Path(found).is_dir():  # what was fetched earlier, where the hub cannot be reached
        refuse_folder(name, Path(found))
    else:
        _refuse_of_hub(found)
    return found, {}


@functools.cache  # the files of a name of the hub are the same for a whole run
def _refuse_of_hub(name: str) -> None:
    with friendly(name):
        said, _ = PretrainedConfig.get_config_dict(name)
    refuse_code(name, said)
    refuse_adapter(name, name)


def check_tokenizer_file(source: str) -> None:
    """Raise InputError for a model whose tokenizer.json is no file for the library to read."""
    if file := cached_file(source, TOKENIZER, **_QUIETLY):
        read_tokenizer(Path(file))


@contextlib.contextmanager
def friendly(name: str) -> Iterator[None]:
    """What goes wrong while a model is loaded, as an InputError that names it."""
    try:
        yield
    except EdgecdError:
        raise
    except Exception as bad:  # transformers and those below it have errors of their own
        if "use_safetensors=True" in str(bad):
            raise InputError(
                f"{name} has no safetensors on the hub, and pickles can run code when they are "
                f"read: convert it where you trust it, once, with {conversion(name)}"
            ) from None
        raise InputError(f"cannot load {name}: {first_line(bad)}") from bad


def identity_of(name: str) -> str:
    """A fingerprint of every byte that the model is loaded from."""
    source, options = find_source(name)
    if options:
        return file_hash(Path(source) / options["gguf_file"])[:16]
    if Path(name).expanduser().is_dir():
        return folder_identity(Path(source))
    # A commit of the hub is a hash over all of its files; a snapshot's folder has its name
    if Path(source).is_dir():
        return Path(source).name
    with friendly(name):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    return str(config._commit_hash or name)
