"""The manifest of a bundle: its facts as frozen data, parsed strictly as it comes from anywhere."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgecd.errors import InputError
from edgecd.prompts import PromptTemplate

FORMAT = 2
PRECISIONS = ("fp32", "fp16", "int8", "int4")
MANIFEST, MODEL, TOKENIZER, README = "manifest.json", "model.onnx", "tokenizer.json", "README.md"
LOADED = (MODEL, TOKENIZER)  # what a predictor reads
LISTED = (*LOADED, README)  # what a manifest may list; it cannot hold its own hash

# Limits on what a manifest may claim, far above any real one.
MAX_FILE_BYTES = 1 << 31  # a single ONNX file ends at 2 GiB
MAX_TEXT = 65_536
MAX_LABELS = 4_096
MAX_TOKENS = 1 << 20
MAX_SAMPLES = 64


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be: hex SHA-256 and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the graph; a named dimension is free (`batch`, `sequence`)."""

    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Sample:
    """A parity sample: neutral text, its token ids, and the logits recorded at export."""

    fields: Mapping[str, str]
    input_ids: tuple[int, ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything there is to know about a bundle; the keys of `manifest.json`, in its order.

    `labels` is the order of the logits' columns. `prefix_ids` are the tokens that every prompt
    starts with, whose keys and values the graph holds as constants. `parity` holds the export
    gate's figures, `provenance` how the model was made.
    """

    task: str
    labels: tuple[str, ...]
    verbalizer: Mapping[str, str]
    template: str
    max_length: int
    pad_token_id: int
    prefix_ids: tuple[int, ...]
    precision: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    parity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    samples: tuple[Sample, ...]
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def prompt(self) -> PromptTemplate:
        """The template with its verbalizer; InputError when either is wrong."""
        return PromptTemplate(self.template, self.verbalizer)


def parse_manifest(raw: Any) -> Manifest:
    """A manifest from its JSON value; every type, size and cross-reference is checked."""
    raw = _object(raw, "the manifest")
    version = _whole(_get(raw, "format"), "format", 0, 1 << 31)
    if version != FORMAT:
        raise InputError(
            f"format {version} is not known here (this version reads {FORMAT}): "
            "update edgecd, or export the run again"
        )
    labels = tuple(
        _text(label, "labels", 256) for label in _items(_get(raw, "labels"), "labels", MAX_LABELS)
    )
    words = _texts(_get(raw, "verbalizer"), "verbalizer")
    if len(set(labels)) < len(labels) or set(labels) != set(words):
        raise InputError("labels and the keys of verbalizer must be the same, each once")
    precision = _text(_get(raw, "precision"), "precision", 32)
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    manifest = Manifest(
        format=version,
        task=_text(_get(raw, "task"), "task", 256),
        labels=labels,
        verbalizer={label: words[label] for label in labels},
        template=_text(_get(raw, "template"), "template", MAX_TEXT),
        max_length=_whole(_get(raw, "max_length"), "max_length", 1, MAX_TOKENS),
        pad_token_id=_whole(_get(raw, "pad_token_id"), "pad_token_id", 0, 1 << 31),
        prefix_ids=_tokens(_get(raw, "prefix_ids"), "prefix_ids"),
        precision=precision,
        inputs=_tensors(_get(raw, "inputs"), "inputs"),
        outputs=_tensors(_get(raw, "outputs"), "outputs"),
        parity=_parity(_get(raw, "parity")),
        provenance=_object(_get(raw, "provenance"), "provenance"),
        samples=tuple(
            _sample(item, len(labels))
            for item in _items(_get(raw, "samples"), "samples", MAX_SAMPLES)
        ),
        files=_files(_get(raw, "files")),
    )
    fields = set(manifest.prompt.fields)  # the template parses, the words are distinct
    if any(set(sample.fields) != fields for sample in manifest.samples):
        raise InputError("samples: the fields are not those of the template")
    return manifest


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a JSON value, `format` first."""
    values = asdict(manifest)
    return {"format": values.pop("format"), **values}


def _get(raw: Mapping[str, Any], key: str) -> Any:
    if key not in raw:
        raise InputError(f"{key!r} is missing")
    return raw[key]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} must be an object, not {type(value).__name__}")
    return value


def _items(value: Any, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise InputError(f"{what} must be a list of at most {limit}")
    return value


def _text(value: Any, what: str, limit: int) -> str:
    if not isinstance(value, str) or not value or len(value) > limit:
        raise InputError(f"{what} must be text of 1 to {limit} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"{what} is not valid Unicode text")
    return value


def _whole(value: Any, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{what} must be a whole number from {low} to {high}")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{what} must be a number")
    if abs(value) > 1e30 or not math.isfinite(value):
        raise InputError(f"{what} must be a finite number")
    return float(value)


def _texts(value: Any, what: str) -> dict[str, str]:
    return {
        name: _text(text, f"{what}.{name[:64]}", MAX_TEXT)
        for name, text in _object(value, what).items()
    }


def _tensors(value: Any, what: str) -> dict[str, TensorSpec]:
    specs = {}
    for name, raw in _object(value, what).items():
        spec = _object(raw, f"{what}.{name[:64]}")
        shape = tuple(
            _text(size, "shape", 64) if isinstance(size, str) else _whole(size, "shape", 0, 1 << 31)
            for size in _items(_get(spec, "shape"), "shape", 8)
        )
        specs[name] = TensorSpec(_text(_get(spec, "dtype"), "dtype", 32), shape)
    return specs


def _tokens(value: Any, what: str) -> tuple[int, ...]:
    return tuple(_whole(token, what, 0, 1 << 31) for token in _items(value, what, MAX_TOKENS))


def _parity(value: Any) -> dict[str, Any]:
    parity = _object(value, "parity")
    for key in ("examples", "label_flips"):
        _whole(_get(parity, key), f"parity.{key}", 0, 1 << 31)
    _number(_get(parity, "max_abs_logit_diff"), "parity.max_abs_logit_diff")
    for key in ("accuracy_checkpoint", "accuracy_bundle"):
        if _get(parity, key) is not None:  # null when the held-out examples have no labels
            _number(parity[key], f"parity.{key}")
    return parity


def _sample(value: Any, labels: int) -> Sample:
    raw = _object(value, "samples")
    logits = [
        _number(x, "samples.logits") for x in _items(_get(raw, "logits"), "logits", MAX_LABELS)
    ]
    if len(logits) != labels:
        raise InputError(f"samples: {len(logits)} logits for {labels} labels")
    return Sample(
        fields=_texts(_get(raw, "fields"), "samples.fields"),
        input_ids=_tokens(_get(raw, "input_ids"), "samples.input_ids"),
        logits=tuple(logits),
    )


def _files(value: Any) -> dict[str, FileRecord]:
    files = {}
    for name, raw in _object(value, "files").items():
        if name not in LISTED:  # also refuses every path: no folder, no `..`
            raise InputError(f"files: {name[:64]!r} is not one of {', '.join(LISTED)}")
        record = _object(raw, f"files.{name}")
        sha256 = _text(_get(record, "sha256"), f"files.{name}.sha256", 64)
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise InputError(f"files.{name}.sha256 must be 64 hexadecimal digits, lower case")
        size_bytes = _whole(_get(record, "size_bytes"), "size_bytes", 1, MAX_FILE_BYTES)
        files[name] = FileRecord(sha256, size_bytes)
    for name in LOADED:
        if name not in files:
            raise InputError(f"files: {name} is missing")
    return files
