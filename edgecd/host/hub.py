"""The Hugging Face hub, asked once and briefly, so that nobody waits on a dead network."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecd.errors import EdgecdError, InputError, require

TIMEOUT_S = 4


class Unreachable(InputError):
    """The hub cannot be reached, and what was asked for is not here; with a network it may be."""


@functools.cache  # a run asks for the same model several times
def resolve_model(name: str) -> str:
    """A hub id that can be loaded now: `name` itself, or its local snapshot when offline.

    Raises InputError within ten seconds when the hub has no such model, or cannot be reached
    and nothing is cached, and names the local alternative.
    """
    return _resolve(
        name,
        "model",
        lambda api: api.model_info(name, timeout=TIMEOUT_S),
        "give a local model folder or a .gguf file instead",
    )


def is_here(name: str) -> bool:
    """Whether a model can be loaded without fetching anything: a folder, a file, or cached."""
    if Path(name).expanduser().exists():
        return True
    try:
        find = require("huggingface_hub", "train").try_to_load_from_cache
        weights = ("model.safetensors", "model.safetensors.index.json")
        return any(isinstance(find(name, file), str) for file in weights)
    except (EdgecdError, ValueError):  # not installed; no name of the hub
        return False


def resolve_dataset(name: str) -> str:
    """The same for a dataset; the local alternative is a file in the task's [data]."""
    return _resolve(
        name,
        "dataset",
        lambda api: api.dataset_info(name, timeout=TIMEOUT_S),
        "write a task file whose [data] names local .jsonl, .csv, .tsv or .parquet files",
    )


def resolve_file(dataset: str, path: str) -> str:
    """One file of a dataset on the hub, downloaded; InputError when it cannot be had."""
    hub = require("huggingface_hub", "train")
    source = resolve_dataset(dataset)
    try:
        if source != dataset:  # a snapshot
            return str(
                hub.hf_hub_download(dataset, path, repo_type="dataset", local_files_only=True)
            )
        return str(hub.hf_hub_download(dataset, path, repo_type="dataset"))
    except Exception as bad:  # the HTTP library, and so its errors, differ by hub version
        raise InputError(
            f"dataset {dataset!r} has no file {path!r} that can be read here: {bad}"
        ) from None


def _resolve(name: str, kind: str, ask: Callable[[Any], Any], cure: str) -> str:
    hub = require("huggingface_hub", "train")
    failure: list[Exception] = []

    def attempt() -> None:
        try:
            ask(hub.HfApi())
        except Exception as error:  # the HTTP library, and so its errors, differ by hub version
            failure.append(error)

    # In a thread, because a name server that does not answer ignores the HTTP timeout.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(2 * TIMEOUT_S)
    if not thread.is_alive() and not failure:
        return name
    try:
        return str(hub.snapshot_download(name, repo_type=kind, local_files_only=True))
    except Exception:
        reason = f"{type(failure[0]).__name__}: {failure[0]}" if failure else "no answer"
        reason = " ".join(reason.split())[:200]
    if failure and "NotFound" in type(failure[0]).__name__:
        raise InputError(f"the hub has no {kind} {name!r} (or it is private): {cure}")
    raise Unreachable(
        f"{kind} {name!r}: the hub cannot be reached ({reason}). Offline, {cure}; or see "
        "`edgecd demo`, which needs no network"
    )
