"""A compressor folder: the graph that turns demonstrations into a context, on the device.

`compressor.json`, `model.onnx` and `tokenizer.json`. Like a bundle it is read strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgecd.errors import CheckFailed, InputError
from edgecd.files import read_json, sha256_file
from edgecd.formats import strict
from edgecd.formats.graphfile import check_graph
from edgecd.formats.manifest import MODEL, TOKENIZER

FACTS = "compressor.json"
FORMAT = 1
COMPRESSOR_METHODS = ("mend", "hypertuning", "gist")


@dataclass(frozen=True)
class CompressorFacts:
    """What a compressor is: whose contexts it makes, and of how much text.

    `model` and `fingerprint` name the frozen language model, `positions` is the length of its
    contexts, `max_context` the tokens of demonstrations it was trained to read at most; `files`
    holds each file's SHA-256.
    """

    method: str
    model: str
    fingerprint: str
    positions: int
    max_context: int
    precision: str
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


def facts_json(facts: CompressorFacts) -> dict[str, Any]:
    """The facts as a JSON value."""
    return asdict(facts)


def is_compressor(folder: Path) -> bool:
    """Whether a folder holds a compressor."""
    return (folder / FACTS).is_file()


def read_facts(folder: Path) -> CompressorFacts:
    """The facts of a compressor whose files are what they say.

    Raises InputError for a folder that is none, CheckFailed for a file that was changed.
    """
    path = folder / FACTS
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{folder} is not a compressor: it has no {FACTS}")
    try:
        facts = _parse(strict.mapping(read_json(path), "the facts"))
    except InputError as bad:
        raise InputError(f"{path}: {bad}") from None
    for name in (MODEL, TOKENIZER):
        file = folder / name
        if file.is_symlink() or not file.is_file():
            raise InputError(f"{file} is missing: copy the compressor again")
        if sha256_file(file) != facts.files.get(name):
            raise CheckFailed(
                f"{file} has been changed or damaged: its SHA-256 is not that of {FACTS}; "
                "copy the compressor again"
            )
    check_graph(folder / MODEL)
    return facts


def _parse(raw: Mapping[str, Any]) -> CompressorFacts:
    version = strict.whole(strict.get(raw, "format"), "format", 0, 1 << 31)
    if version != FORMAT:
        raise InputError(
            f"format {version} is not known here (this version reads {FORMAT}): update edgecd"
        )
    method = strict.text(strict.get(raw, "method"), "method", 64)
    if method not in COMPRESSOR_METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(COMPRESSOR_METHODS)}")
    return CompressorFacts(
        method=method,
        model=strict.text(strict.get(raw, "model"), "model", 512),
        fingerprint=strict.text(strict.get(raw, "fingerprint"), "fingerprint", 64),
        positions=strict.whole(strict.get(raw, "positions"), "positions", 1, strict.MAX_TOKENS),
        max_context=strict.whole(
            strict.get(raw, "max_context"), "max_context", 1, strict.MAX_TOKENS
        ),
        precision=strict.text(strict.get(raw, "precision"), "precision", 32),
        files=strict.texts(strict.get(raw, "files"), "files"),
    )
