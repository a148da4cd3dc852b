"""A bundle folder: `manifest.json`, `model.onnx`, `tokenizer.json` and `README.md`.

One of a language model has a `context.safetensors` besides.

The manifest is the one home of every fact about it; the other files are named in it with their
hash. A bundle is read strictly, because it comes from anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecd.errors import CheckFailed, InputError
from edgecd.files import sha256_file, write_json, write_text
from edgecd.formats import strict
from edgecd.formats.card import model_card
from edgecd.formats.graphfile import check_graph
from edgecd.formats.manifest import (
    CONTEXT,
    LISTED,
    MANIFEST,
    MODEL,
    README,
    TOKENIZER,
    FileRecord,
    Manifest,
    manifest_json,
    parse_manifest,
)
from edgecd.host.folders import new_folder

__all__ = ["MANIFEST", "Manifest", "check_files", "read_manifest", "write_bundle"]

MAX_MANIFEST_BYTES = 1 << 20  # far above any real one


@dataclass(frozen=True)
class Layout:
    """What a bundle has besides for another library: its graph under another name, and settings.

    `texts` maps the names of files to their JSON values; all of the names are in LISTED.
    """

    graph: str
    texts: Mapping[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a bundle folder; InputError says what is wrong with it.

    Keys that this version does not know are ignored: a later one may add some. Whether the files
    are what the manifest says is `check_files`' question.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such bundle folder")
    path = folder / MANIFEST
    if not path.exists():
        raise InputError(f"{folder} is not a bundle: it has no {MANIFEST}")
    _plain_file(path)
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise InputError(f"{path} is over {MAX_MANIFEST_BYTES} bytes: not a manifest")
    try:
        raw = json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=strict.unique_keys,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as bad:
        raise InputError(f"{path}: not valid JSON ({bad})") from None
    try:
        return parse_manifest(raw)
    except InputError as bad:
        raise InputError(f"{path}: {bad}") from None


def check_files(folder: Path, manifest: Manifest, names: Iterable[str] = LISTED) -> None:
    """Compare files with the manifest, and refuse a graph that no bundle has (see `graphfile`).

    Of `names`, those that the manifest lists are checked. Raises CheckFailed naming the file
    that is missing or differs, InputError for a link in place of a file.
    """
    for name in names:
        record = manifest.files.get(name)
        if record is None:
            continue
        path = folder / name
        if not path.exists():
            raise CheckFailed(f"{path} is missing: the manifest lists it; copy the bundle again")
        _plain_file(path)
        size_bytes = path.stat().st_size
        if size_bytes != record.size_bytes:
            raise CheckFailed(
                f"{path} has {size_bytes} bytes, not the {record.size_bytes} of the manifest: "
                "copy the bundle again"
            )
        if sha256_file(path) != record.sha256:
            raise CheckFailed(
                f"{path} has been changed or damaged: its SHA-256 is not the manifest's; "
                "copy the bundle again"
            )
        if path.suffix == ".onnx":
            check_graph(path)


def write_bundle(
    out: Path,
    manifest: Manifest,
    model: Path,
    tokenizer_json: str,
    force: bool = False,
    context: Path | None = None,
    layout: Layout | None = None,
) -> Manifest:
    """Write a bundle folder atomically; returns the manifest with its files' hashes.

    `model` and `context` are copied; the `layout`'s graph is the same file under another name. An
    existing `out` is refused as by `new_folder`.
    """
    with new_folder(out, force) as part:
        shutil.copyfile(model, part / MODEL)
        if context is not None:
            shutil.copyfile(context, part / CONTEXT)
        write_text(part / TOKENIZER, tokenizer_json)
        if layout is not None:
            _same_file(part / MODEL, part / layout.graph)
            for name, value in layout.texts.items():
                write_json(part / name, value)
        there = [name for name in LISTED if (part / name).exists()]
        loaded = replace(manifest, files={name: _record(part / name) for name in there})
        write_text(part / README, model_card(loaded, out.name))
        written = replace(loaded, files={**loaded.files, README: _record(part / README)})
        write_json(part / MANIFEST, manifest_json(written))
        check_files(part, read_manifest(part))  # what is written can be read back
    return written


def _same_file(path: Path, other: Path) -> None:
    """Another name for a file; a copy where the disk knows one name only."""
    other.parent.mkdir(exist_ok=True)
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _record(path: Path) -> FileRecord:
    return FileRecord(sha256_file(path), path.stat().st_size)


def _plain_file(path: Path) -> None:
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        raise InputError(f"{path} must be a plain file, not a link or a folder: copy the files")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
